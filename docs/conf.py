"Sphinx's settings for the site that tools/docs.py builds."
import base64, json, runpy
from pathlib import Path
from docutils import nodes

here = Path(__file__).parent
about = runpy.run_path(str(here.parent/'ae_erasing/_modidx.py'))['d']['settings']
git_url,branch = about['git_url'],about['branch']

project,author,copyright = 'ae_erasing','The ae_erasing authors','The ae_erasing authors, Apache-2.0'
extensions = ['myst_nb', 'sphinx_copybutton']
source_suffix = {'.ipynb':'myst-nb', '.md':'myst-nb'}
exclude_patterns = ['pages.json']
add_module_names = False
smartquotes = False  # `--option` and quoted values are meant as they stand
python_maximum_signature_line_length = 100
toc_object_entries_show_parents = 'hide'

nb_execution_mode = 'off'
nb_merge_streams = True
nb_render_markdown_format = 'myst'
myst_enable_extensions = ['amsmath', 'attrs_block', 'colon_fence', 'deflist', 'dollarmath', 'fieldlist']
myst_heading_anchors = 4

html_theme = 'sphinx_book_theme'
html_title = 'ae_erasing'
html_baseurl = about['doc_host']+about['doc_baseurl']+'/'
html_static_path = ['_static']
html_css_files,html_js_files = ['site.css'],['site.js']
html_favicon = '_static/logo.svg'
html_copy_source = False
html_context = dict(default_mode='auto')
# `@` stands for the folder of the page's source in the repository, which the theme takes to be one for all: see `true_path`
html_theme_options = dict(repository_url=git_url, repository_branch=branch, path_to_docs='@',
    use_repository_button=True, use_edit_page_button=True, use_source_button=True, use_issues_button=True,
    use_download_button=False, use_fullscreen_button=False, navbar_persistent=[],
    logo=dict(text='ae_erasing', image_light='_static/logo.svg', image_dark='_static/logo.svg', alt_text='Front page'),
    launch_buttons=dict(colab_url='https://colab.research.google.com'))

# What tools/vendor.sh has fetched comes from the site itself; without it, browsers get it from a CDN, where there are formulas or widgets
if (here/'_static/vendor').exists():
    mathjax_path = 'vendor/mathjax/tex-mml-chtml.js'
    nb_ipywidgets_js = {'vendor/require.js':{},
        'vendor/@jupyter-widgets/html-manager/dist/embed-amd.js':{'data-jupyter-widgets-cdn':'_static/vendor/'}}

def true_path(app, pagename, templatename, context, doctree):
    "Make the buttons of a page lead to its file in the repository: core.html comes from nbs/18_core.ipynb."
    files = json.loads((Path(app.srcdir)/'pages.json').read_text(encoding='utf-8'))
    def fix(buttons):
        for b in buttons:
            head,at,_ = b.get('url', '').partition('/@/')
            if at: b['url'] = f'{head}/{files[pagename]}'
            fix(b.get('buttons', []))
    fix(context.get('header_buttons', []))

packed_ort = 'vendor/onnxruntime.js'
ort = packed_ort if (here/'_static'/packed_ort).exists() else 'https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/ort.wasm.min.js'

def segmenter_scripts(app, pagename, templatename, context, doctree):
    "The page that runs a segmenter has scripts that others don't need"
    if pagename!='in_browser': return
    for f in (ort, 'segmenter/demo.js', 'segmenter/segmenter.js'): app.add_js_file(f, loading_method='defer')

def segmenter_demo(app, error):
    "Write its network and its pictures as a script: a page that was opened as a file can read no other files"
    if error or app.builder.format!='html': return
    def base64_of(f): return base64.b64encode(f.read_bytes()).decode()
    folder = here/'_static/segmenter'
    pictures = [dict(name=f.stem.replace('_', ', '), url=f'data:image/png;base64,{base64_of(f)}') for f in sorted(folder.glob('*.png'))]
    demo = dict(model=base64_of(folder/'creatures.onnx'), pictures=pictures)
    (Path(app.outdir)/'_static/segmenter/demo.js').write_text(f'window.segmenterDemo = {json.dumps(demo)}\n', encoding='utf-8')

def dashes(app, doctree):
    "Sphinx sets ` -- ` between a parameter and what it means, and leaves the dash to smart quotes, which we don't want"
    for n in list(doctree.findall(nodes.Text)):
        if n==' -- ': n.parent.replace(n, nodes.Text(' – '))

def setup(app):
    app.connect('html-page-context', true_path, priority=900)
    app.connect('html-page-context', segmenter_scripts)
    app.connect('build-finished', segmenter_demo)
    app.connect('doctree-read', dashes)
