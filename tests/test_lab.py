"The explorer in a real JupyterLab, in a real Chromium: what a person sees and does."
import json, re
import pytest
from browser import centre, drag, errors, open_page, run_all
from tiny import spots

def write_notebook(path, *sources):
    empty = dict(cell_type='code', metadata={}, outputs=[], execution_count=None)
    cells = [dict(empty, id=f'c{n}', source=s) for n,s in enumerate(sources)]
    kernel = dict(name='python3', language='python', display_name='Python 3')
    path.write_text(json.dumps(dict(cells=cells, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)))

@pytest.fixture(scope='module')
def page(lab, browser):
    "A notebook with the explorer over a small run"
    spots(lab.root)
    write_notebook(lab.root/'look.ipynb', 'from ae_erasing.explore.explorer import Explorer', 'ex = Explorer("run")\nex')
    page = open_page(browser, lab, 'look.ipynb', height=1200)
    assert run_all(page)==[]
    brush(page).wait_for()
    yield page
    page.close()

def picture(page): return page.locator('.jp-OutputArea .widget-image').first.get_attribute('src')
def brush(page): return page.locator('.ae-brush canvas')
def painted(page): return brush(page).evaluate('c => c.toDataURL()')
def caption(page): return page.locator('.widget-html-content', has_text=re.compile(r'\(\d+ of \d+\)')).inner_text()
def bars(page): return page.locator('.widget-html-content', has_text='Confidence of').inner_text()
def confidence(page): return float(re.search(r'of step \d\s+\w+\s+([\d.]+)', bars(page))[1])
def control(page, name): return page.locator('.widget-inline-hbox', has=page.locator('.widget-label', has_text=re.compile(f'^{name}$')))
def readout(page, name): return control(page, name).locator('.widget-readout').inner_text()
def press(page, name): page.locator('button.jupyter-button', has_text=name).click()

def until(page, now, seconds=30):
    "Wait until something is so"
    for _ in range(10*seconds):
        if now(): return
        page.wait_for_timeout(100)
    raise AssertionError('nothing happens')

def settled(page):
    "Wait until all that was painted has been answered"
    old = None
    while old!=(old := (bars(page), painted(page))): page.wait_for_timeout(1500)

def test_the_step_slider_by_keyboard(page):
    old,handle = picture(page),control(page, 'step').locator('.noUi-handle')
    handle.focus()
    page.keyboard.press('ArrowRight')
    until(page, lambda: picture(page)!=old and 'Class activation map of step 2' in caption(page) and 'classifier of step 2' in bars(page))
    assert readout(page, 'step')=='2'
    handle.focus()
    page.keyboard.press('ArrowLeft')
    until(page, lambda: 'Class activation map of step 1' in caption(page))

def test_the_threshold_slider_by_mouse(page):
    control(page, 'show').locator('select').select_option('regions')
    until(page, lambda: 'Regions of steps' in caption(page))
    mined = lambda: float(re.search(r'Mined: ([\d.]+)%', caption(page))[1])
    old,share = picture(page),mined()
    x,y = centre(control(page, 'threshold').locator('.noUi-handle'))
    drag(page, (x,y), (x-40,y))
    until(page, lambda: picture(page)!=old and mined()>share)
    assert float(readout(page, 'threshold'))<.5 and 'later steps would have seen other images' in caption(page)

def test_the_brush_by_mouse_and_keyboard(page):
    until(page, lambda: confidence(page)>.8)
    old = painted(page)
    x,y = centre(brush(page))
    control(page, 'brush size').locator('.noUi-handle').focus()
    for _ in range(10): page.keyboard.press('ArrowRight')
    until(page, lambda: readout(page, 'brush size')=='0.16')
    for dy in (-80, -40, 0, 40): drag(page, (x-110, y+dy), (x+90, y+dy))
    until(page, lambda: confidence(page)<.5)
    settled(page)
    assert painted(page)!=old
    before = painted(page)
    press(page, 'undo')
    until(page, lambda: painted(page)!=before)
    press(page, 'clear')
    until(page, lambda: painted(page)==old and confidence(page)>.8)
    brush(page).focus()
    for _ in range(2): page.keyboard.press('ArrowUp')
    page.keyboard.press(' ')
    until(page, lambda: re.search('[1-9]% of the image is erased', bars(page)))
    press(page, 'clear')
    until(page, lambda: confidence(page)>.8)
    press(page, 'erase box')
    until(page, lambda: re.search('(9|10)% of the image is erased', bars(page)))
    press(page, 'clear')

def test_another_image(page):
    old,name = picture(page),caption(page).split()[0]
    control(page, 'image').locator('.noUi-handle').focus()
    page.keyboard.press('ArrowRight')
    until(page, lambda: picture(page)!=old and caption(page).split()[0]!=name)
    control(page, 'find').locator('input').fill('p07')
    page.keyboard.press('Enter')
    until(page, lambda: caption(page).startswith('p07'))

def test_the_animation(page):
    control(page, 'show').locator('select').select_option('class activation map')
    until(page, lambda: 'Class activation map of step 1' in caption(page))
    old = picture(page)
    page.locator('.widget-play button').first.click()
    until(page, lambda: 'Class activation map of step 2' in caption(page) and picture(page)!=old and readout(page, 'step')=='2')

def test_training_by_a_button(lab, browser):
    "Progress is seen while it trains, Stop stops, and the notebook stays free"
    imports = 'from ae_erasing.explore.train_panel import TrainPanel\nfrom ae_erasing.data.creatures import creatures'
    small = 'herd,small = creatures(n=64, n_valid=0, size=32),dict(size=32, mine_size=32, bs=4, epochs=900, steps=1)'
    panel = f'{small}\npanel = TrainPanel(herd, "trained", **small)\npanel'
    write_notebook(lab.root/'train.ipynb', imports, panel, 'print("free", panel.progress.pb.value)')
    page = open_page(browser, lab, 'train.ipynb')
    assert run_all(page)==[]
    press(page, 'Start')
    note = page.locator('.widget-html-content', has_text='step 1: training')
    note.wait_for()
    rows = page.locator('.widget-html-content table tr')
    until(page, lambda: re.search(r'epoch [3-9]\d* of 900, loss \d', note.inner_text()) and rows.count()>2)
    last = page.locator('.jp-CodeCell').last
    last.locator('.jp-InputArea-editor').click()
    page.keyboard.press('Control+Enter')
    until(page, lambda: re.search('free [1-9]', last.locator('.jp-OutputArea').inner_text()))
    press(page, 'Stop')
    page.locator('.widget-html-content', has_text='Stopped. Start resumes it.').wait_for()
    assert errors(page)==[] and not list(lab.root.glob('trained/step_1/model.safetensors'))
    page.close()

def test_a_page_by_the_menu(lab, browser):
    "As a person would: the Run menu, on a lesson"
    page = open_page(browser, lab, 'nbs/02_evaluation/00_metrics.ipynb')
    page.locator('#jp-main-statusbar').get_by_text('| Idle').first.wait_for()
    page.locator('.lm-MenuBar-itemLabel', has_text='Run').first.click()
    page.locator('.lm-Menu-itemLabel', has_text='Run All Cells').first.click()
    page.locator('.jp-CodeCell').last.locator('.jp-InputPrompt', has_text=re.compile(r'\[\d+\]:')).wait_for()
    assert errors(page)==[]
    page.close()
