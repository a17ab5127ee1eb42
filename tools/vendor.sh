#!/bin/sh
# JavaScript for formulas, widgets and networks, from npm into docs/_static/vendor (11 MB, kept out of git), so that the site needs no other
# server. Run once, before `make docs`; without it, pages that need MathJax, widgets or ONNX Runtime have browsers fetch them from a CDN.
set -e
cd "$(dirname "$0")/.."
to=docs/_static/vendor
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
npm install --prefix "$tmp" --no-save --prefer-offline --no-audit --no-fund --ignore-scripts --loglevel=error mathjax@3 @jupyter-widgets/html-manager@1.0 requirejs@2 onnxruntime-web@1.30.0
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
# ONNX Runtime in one script, its WebAssembly packed inside, so that a page opened as a file can run it too
node - "$js/onnxruntime-web/dist" "$new/onnxruntime.js" <<'END'
const fs = require('fs'), {createHash} = require('crypto'), {gzipSync} = require('zlib')
const [from, to] = process.argv.slice(2)
const digests = {
  'ort.wasm.min.js': 'faece07e84faa9001f5104bbe4e5c70861d06cb2376a0dea1fa0ad33a67adc81',
  'ort-wasm-simd-threaded.mjs': 'e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b',
  'ort-wasm-simd-threaded.wasm': '3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2',
}
const [script, mjs, wasm] = Object.entries(digests).map(([name, digest]) => {
  const bytes = fs.readFileSync(`${from}/${name}`)
  if (createHash('sha256').update(bytes).digest('hex') !== digest) throw Error(`onnxruntime-web: ${name} is not the file that was checked`)
  return bytes
})
const packed = bytes => gzipSync(bytes, {level: 9}).toString('base64')
fs.writeFileSync(to, `${script}\nwindow.ortFiles = ${JSON.stringify({mjs: packed(mjs), wasm: packed(wasm)})};\n`)
END
rm -rf "$to"
mv "$new" "$to"
