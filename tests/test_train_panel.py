"Progress in widgets, and a run that is started and stopped by buttons."
import pytest, torch
from fastai.vision.all import DataLoaders, Learner

from ae_erasing.core import erase_loop
from ae_erasing.data.creatures import creatures
from ae_erasing.explore.train_panel import TrainPanel, WidgetProgress
from conftest import fails
from tiny import same

def learner():
    x = torch.randn(16, 3)
    ds = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
    dls = DataLoaders.from_dsets(ds, ds, bs=4, device='cpu')
    return Learner(dls, torch.nn.Linear(3, 1), loss_func=torch.nn.functional.mse_loss)

def test_progress_of_any_learner():
    learn,cb = learner(),WidgetProgress(every=0)
    seen = []
    cb.pb.observe(lambda c: seen.append(c['new']), 'value')
    with learn.no_bar(), learn.no_logging(): learn.fit(2, cbs=cb)
    assert seen==list(range(1, 9)) and cb.pb.max==8 and 'epoch 2 of 2, loss' in cb.note.value
    assert cb.losses.value.count('<tr>')==3 and 'train_loss' in cb.losses.value
    with learn.no_bar(), learn.no_logging(): learn.fit(1, cbs=cb)
    assert cb.losses.value.count('<tr>')==2 and cb.pb.max==4

quick = dict(size=32, mine_size=32, epochs=1, steps=2)
def herd(): return creatures(n=24, n_valid=0, size=32)

def test_a_run_by_a_button_is_as_any(tmp_path):
    panel = TrainPanel(herd(), tmp_path/'a', **quick)
    assert panel.halt.disabled and not panel.go.disabled
    panel.go.click()
    assert panel.go.disabled
    m = panel.wait()
    erase_loop(herd(), tmp_path/'b', verbose=False, **quick)
    same(tmp_path/'a', tmp_path/'b')
    assert 'Finished' in panel.state.value and '<table>' in panel.result.value and len(m.steps)==2
    assert panel.halt.disabled and not panel.go.disabled

@pytest.mark.parametrize('at', ['decoding', 'training', 'mining'])
def test_a_stopped_run_is_resumed(tmp_path, at):
    told,numbers = [],{**quick, 'epochs':3}
    panel = TrainPanel(herd(), tmp_path/'a', **numbers)
    tell = panel.progress.tell
    def stop_at(head, *args):
        told.append(head)
        if at in head: panel.stop()
        tell(head, *args)
    panel.progress.tell = stop_at
    panel.start()
    assert panel.wait() is None and 'Stopped. Start resumes it.' in panel.state.value and at in told[-1]
    panel.progress.tell = tell
    panel.start()
    assert len(panel.wait().steps)==2
    erase_loop(herd(), tmp_path/'b', verbose=False, **numbers)
    same(tmp_path/'a', tmp_path/'b')

def test_a_thread_that_stops_at_once_has_the_last_word(tmp_path):
    "The thread may end before `stop` does"
    panel = TrainPanel(herd(), tmp_path/'a', **{**quick, 'epochs':999})
    say = panel.say
    def slow(text):
        if panel.stopping and 'Stopping' in text: panel.thread.join()
        say(text)
    panel.say = slow
    panel.start()
    panel.stop()
    assert panel.wait() is None and 'Stopped. Start resumes it.' in panel.state.value

def test_errors_are_told(tmp_path):
    panel = TrainPanel(tmp_path/'nowhere', tmp_path/'a')
    panel.start()
    with fails('nowhere'): panel.wait()
    assert 'Ended by an error' in panel.state.value and 'nowhere' in panel.state.value and not panel.go.disabled

def test_callbacks_and_progress_of_the_loop(tmp_path):
    told,cb = [],WidgetProgress()
    def tell(head, k, n, tail=''): told.append((head.strip(), k, n))
    erase_loop(herd(), tmp_path/'a', verbose=False, progress=tell, cbs=[cb], **quick)
    heads = {h for h,_,_ in told}
    assert heads=={'decoding images', 'step 1: training', 'step 1: mining', 'step 2: training', 'step 2: mining'}
    assert all(k<=n for _,k,n in told) and cb.pb.value==cb.pb.max>0
