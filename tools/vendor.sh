#!/bin/sh
# JavaScript for formulas and widgets, from npm into docs/_static/vendor (6 MB, kept out of git), so that the site needs no other server.
# Run once, before `make docs`; without it, pages that need MathJax or widgets have browsers fetch them from a CDN.
set -e
cd "$(dirname "$0")/.."
to=docs/_static/vendor
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
npm install --prefix "$tmp" --no-save --prefer-offline --no-audit --no-fund --ignore-scripts --loglevel=error mathjax@3 @jupyter-widgets/html-manager@1.0 requirejs@2
js=$tmp/node_modules
new=$tmp/vendor
mkdir -p "$new/mathjax/output/chtml" "$new/mathjax/input" "$new/@jupyter-widgets/html-manager/dist"
cp "$js/mathjax/es5/tex-mml-chtml.js" "$new/mathjax/"
cp -r "$js/mathjax/es5/output/chtml/fonts" "$new/mathjax/output/chtml/"
cp -r "$js/mathjax/es5/input/tex" "$new/mathjax/input/"
cp "$js/requirejs/require.js" "$new/"
# The icons' fonts are asked for beside the script, not beside the page
echo 'requirejs.config({baseUrl: new URL(".", document.currentScript.src).href});' >> "$new/require.js"
cp "$js/@jupyter-widgets/html-manager/dist/embed-amd.js" "$new/@jupyter-widgets/html-manager/dist/"
for d in . html-manager/dist; do cp "$js/@jupyter-widgets/html-manager/dist/"*.woff* "$new/@jupyter-widgets/$d"; done
rm -rf "$to"
mv "$new" "$to"
