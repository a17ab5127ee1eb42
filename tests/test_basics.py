"Threads that work in portions and in order."
from ae_erasing.basics import AEError, thread_map
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
