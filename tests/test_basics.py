"Threads that work in portions and in order, and progress in logs."
import io
from contextlib import redirect_stderr
import pytest
from hypothesis import given, settings, strategies as st
from ae_erasing.basics import AEError, ProgressBar, progress_function, thread_map
from conftest import fails

def test_threads_do_not_run_ahead():
    "Results come in order, and never more than a portion of them waits to be taken"
    done = []
    def f(x):
        done.append(x)
        return 2*x
    for k,r in enumerate(thread_map(f, iter(range(50)), 4, portion=8)):
        assert r==2*k and len(done)<=(k//8+1)*8
    assert sorted(done)==list(range(50))

def test_threads_stop_at_an_error():
    done = []
    def f(x):
        if x==3: raise AEError('the fourth')
        done.append(x)
    with fails('the fourth'): list(thread_map(f, range(1000), 2, portion=8))
    assert max(done)<8

# --- progress

def lines_of(calls, **kwargs):
    "What a log gets of calls of a `ProgressBar`"
    log = io.StringIO()
    show = ProgressBar(watched=False, **kwargs)
    with redirect_stderr(log):
        for c in calls: show(*c)
    return log.getvalue().splitlines()

@given(n=st.integers(1, 200), parts=st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_a_log_gets_a_line_for_each_part(n, parts):
    "The last of them says that all is done"
    lines = lines_of([('training', k, n, 'loss .3') for k in range(1, n+1)], parts=parts, pause=0)
    assert len(lines)==min(parts, n) and f'{n}/{n}' in lines[-1] and '100%' in lines[-1]
    assert all(l.startswith('training: ') and l.endswith('loss .3]') for l in lines)

def test_quick_jobs_leave_no_lines(): assert lines_of([('masks', k, 50) for k in range(1, 51)])==[]

def test_each_job_counts_anew():
    lines = lines_of([(what, k, 4) for what in ('one', 'two') for k in range(1, 5)], parts=2, pause=0)
    assert [l.split(':')[0] for l in lines]==['one', 'one', 'two', 'two']

def test_a_resumed_job_starts_where_it_was():
    "So that the time left is estimated from what was done since"
    line, = lines_of([('mining', 91, 100), ('mining', 100, 100)], parts=1, pause=0)
    assert '100/100' in line

def test_nothing_is_shown_where_it_is_turned_off(monkeypatch):
    monkeypatch.setenv('TQDM_DISABLE', '1')
    log = io.StringIO()
    show = ProgressBar(pause=0)
    with redirect_stderr(log):
        for k in range(1, 5): show('training', k, 4)
    assert log.getvalue()==''

@pytest.mark.parametrize('progress', (True, False, None))
def test_progress_function_can_be_called(progress): progress_function(progress)('training', 1, 1, 'loss .3')

def test_progress_function_is_the_callers_own():
    heard = []
    progress_function(lambda *what: heard.append(what))('training', 1, 2)
    assert heard==[('training', 1, 2)]
