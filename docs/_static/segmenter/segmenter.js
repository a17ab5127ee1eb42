// A page that runs a segmenter, an ONNX file of `export_onnx`, on pictures. `demo.js` has a network and pictures to begin with,
// `ort` is ONNX Runtime and `ortFiles` what it is packed with, if it is packed.
(() => {
const MAX_SIDE = 1024
const page = document.getElementById('segmenter')
const demo = window.segmenterDemo
const state = {}

// --- small helpers

const bytesOf = base64 => Uint8Array.from(atob(base64), c => c.charCodeAt(0))
async function unpacked(base64) {
  const stream = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream('gzip'))
  return new Uint8Array(await new Response(stream).arrayBuffer())
}
function make(tag, props, ...inside) {
  const made = Object.assign(document.createElement(tag), props)
  made.append(...inside)
  return made
}
const nextFrame = () => new Promise(done => setTimeout(done, 30))
class Plain extends Error {}  // its message is for people

// --- what an ONNX file says of itself: fields of a protocol buffer, of which only the outermost are looked at

function fieldsOf(bytes) {
  let at = 0
  const found = []
  const number = () => {
    for (let value = 0, weight = 1; ; weight *= 128) {
      const byte = bytes[at++]
      if (byte === undefined) throw new Plain('is damaged')
      value += byte % 128 * weight
      if (byte < 128) return value
    }
  }
  while (at < bytes.length) {
    const tag = number(), kind = tag % 8
    if (kind === 2) {
      const length = number()
      found.push([Math.floor(tag/8), bytes.subarray(at, at + length)])
      at += length
    }
    else if (kind === 0) number()
    else if (kind === 1 || kind === 5) at += kind === 1 ? 8 : 4
    else throw new Plain('is no ONNX file')
  }
  return found
}
const METADATA = 14
function factsOf(bytes) {
  const text = b => new TextDecoder().decode(b)
  const entries = fieldsOf(bytes).filter(([field]) => field === METADATA).map(([, b]) => fieldsOf(b).map(([, o]) => text(o)))
  const facts = Object.fromEntries(entries)
  if (!facts.class_names || !facts.palette) throw new Plain('holds no segmenter; make one with ae-erasing export RUN --to onnx')
  return {names: JSON.parse(facts.class_names), palette: JSON.parse(facts.palette), arch: facts.arch, side: facts.pred_size}
}

// --- the network

async function runtime() {
  if (typeof WebAssembly !== 'object') throw new Plain('This browser has no WebAssembly, which runs the network. Try another browser.')
  if (!window.ort) throw new Plain('ONNX Runtime could not be loaded. Is this page without a network, and without tools/vendor.sh?')
  const wasm = ort.env.wasm
  if (window.ortFiles && !wasm.wasmBinary) {
    const script = new Blob([await unpacked(ortFiles.mjs)], {type: 'text/javascript'})
    wasm.wasmPaths = {mjs: URL.createObjectURL(script)}
    wasm.wasmBinary = await unpacked(ortFiles.wasm)
  }
  wasm.numThreads = 1
  return ort
}
async function loadModel(name, bytes) {
  try {
    const facts = factsOf(bytes)
    const session = await (await runtime()).InferenceSession.create(bytes, {executionProviders: ['wasm']})
    Object.assign(state, {name, facts, session})
  } catch (e) {
    if (e instanceof Plain && /^(is|holds) /.test(e.message)) throw new Plain(`${name} ${e.message}.`)
    throw e instanceof Plain ? e : new Plain(`${name} could not be loaded: ${e.message || e}`)
  }
}
async function predict(picture) {
  const {width, height} = picture
  const rgba = picture.getContext('2d').getImageData(0, 0, width, height).data
  const rgb = new Uint8Array(width*height*3)
  for (let i = 0, j = 0; i < rgba.length; i += 4) {
    rgb[j++] = rgba[i]
    rgb[j++] = rgba[i + 1]
    rgb[j++] = rgba[i + 2]
  }
  const image = new ort.Tensor('uint8', rgb, [1, height, width, 3])
  const {mask, confidence} = await state.session.run({image}, ['mask', 'confidence'])
  return {mask: mask.data, confidence: confidence.data}
}

// --- what is on the page

const canvas = make('canvas', {className: 'picture', width: 320, height: 240})
canvas.setAttribute('role', 'img')
const legend = make('ul', {className: 'legend'})
const status = make('p', {className: 'status'})
status.setAttribute('role', 'status')
const opacity = make('input', {type: 'range', min: 0, max: 100, value: 60, oninput: draw})
const modelName = make('code', {})
const chooser = (words, accept, take) => {
  const input = make('input', {type: 'file', accept, onchange: () => input.files.length && take(input.files[0])})
  return make('label', {className: 'choose'}, words, input)
}
const thumbs = make('div', {className: 'thumbs'}, ...demo.pictures.map(({name, url}) => {
  const button = make('button', {type: 'button', title: name}, make('img', {src: url, alt: `drawn creatures: ${name}`}))
  button.onclick = () => attempt(() => show(url, name))
  return button
}))
page.replaceChildren(
  make('div', {className: 'choices'}, make('span', {}, 'Network: ', modelName), chooser('Choose a model.onnx', '.onnx', f => attempt(() => takeModel(f)))),
  make('div', {className: 'choices'}, thumbs, chooser('Choose a photo', 'image/*', f => attempt(() => show(f, f.name)))),
  status,
  make('div', {className: 'result'}, canvas, make('div', {}, make('label', {className: 'opacity'}, 'Mask ', opacity), legend)),
)
function say(words, wrong) {
  status.textContent = words
  status.classList.toggle('wrong', Boolean(wrong))
}

function layer(mask, palette, width, height) {
  const drawn = new OffscreenCanvas(width, height), context = drawn.getContext('2d'), image = context.createImageData(width, height)
  mask.forEach((value, i) => { if (value) image.data.set([...palette[value], 255], 4*i) })
  context.putImageData(image, 0, 0)
  return drawn
}
function draw() {
  const {picture, colours} = state
  if (!picture) return
  Object.assign(canvas, {width: picture.width, height: picture.height})
  const context = canvas.getContext('2d')
  context.drawImage(picture, 0, 0)
  context.globalAlpha = opacity.value/100
  if (colours) context.drawImage(colours, 0, 0)
}
const percent = x => x > 0 && x < .005 ? 'under 1 %' : `${Math.round(100*x)} %`
function listClasses({mask, confidence}) {
  const {names, palette} = state.facts
  const counts = names.map(() => 0)
  mask.forEach(value => counts[value]++)
  const order = names.map((_, k) => k).filter(k => k === 0 || counts[k] > 0).sort((a, b) => counts[b] - counts[a])
  legend.replaceChildren(...order.map(k => {
    const swatch = make('span', {className: 'swatch'})
    swatch.style.background = k ? `rgb(${palette[k]})` : 'none'
    const sure = k ? `, confidence ${confidence[k - 1].toFixed(2)}` : ''
    return make('li', {}, swatch, make('b', {}, names[k]), ` ${percent(counts[k]/mask.length)} of the pixels${sure}`)
  }))
  const seen = order.filter(k => k).map(k => names[k])
  canvas.setAttribute('aria-label', `the picture with its mask: ${seen.join(', ') || 'background alone'}`)
}

// --- what a visitor does

async function opened(source, name) {
  try {
    const blob = typeof source === 'string' ? new Blob([bytesOf(source.split(',')[1])], {type: 'image/png'}) : source
    return await createImageBitmap(blob)
  } catch (e) { throw new Plain(`${name} is no picture that this browser can open.`) }
}
async function show(source, name) {
  const bitmap = await opened(source, name)
  const scale = Math.min(1, MAX_SIDE/Math.max(bitmap.width, bitmap.height))
  const size = [bitmap.width, bitmap.height].map(side => Math.max(1, Math.round(side*scale)))
  const picture = make('canvas', {width: size[0], height: size[1]})
  const context = picture.getContext('2d', {willReadFrequently: true})
  context.imageSmoothingQuality = 'high'
  context.fillStyle = '#fff'
  context.fillRect(0, 0, ...size)
  context.drawImage(bitmap, 0, 0, ...size)
  Object.assign(state, {picture, colours: null, pictureName: name})
  await segment()
}
async function segment() {
  const {picture, pictureName} = state
  legend.replaceChildren()
  draw()
  say(`${pictureName}: the network is running`)
  await nextFrame()
  const start = performance.now()
  const found = await predict(picture)
  const seconds = (performance.now() - start)/1000
  state.mask = found.mask
  state.colours = layer(found.mask, state.facts.palette, picture.width, picture.height)
  draw()
  listClasses(found)
  say(`${pictureName}: ${picture.width} x ${picture.height} pixels, ${seconds.toFixed(2)} s`)
}
async function takeModel(file) {
  await useModel(file.name, new Uint8Array(await file.arrayBuffer()))
  if (state.picture) await segment()
}
async function useModel(name, bytes) {
  say(`${name}: the network is being loaded`)
  await nextFrame()
  await loadModel(name, bytes)
  modelName.textContent = `${name}: ${state.facts.names.length - 1} classes, ${state.facts.arch}`
}
async function fetched(url) {
  const answer = await fetch(url).catch(() => ({}))
  if (!answer.ok) throw new Plain(`${url} is not there; put the file beside this page, or choose one from your disk.`)
  return new Uint8Array(await answer.arrayBuffer())
}
async function begin() {
  const url = new URLSearchParams(location.search).get('model')
  if (url) await useModel(url, await fetched(url))
  else await useModel('creatures.onnx', bytesOf(demo.model))
  const {name, url: first} = demo.pictures[0]
  await show(first, name)
}

// One thing after the other; what goes wrong is said
let last = Promise.resolve()
function attempt(action) {
  last = last.then(action).catch(e => say(e instanceof Plain ? e.message : `This went wrong: ${e.message || e}`, true))
  return last
}
page.addEventListener('dragover', e => e.preventDefault())
page.addEventListener('drop', e => {
  e.preventDefault()
  const file = e.dataTransfer.files[0]
  if (file) attempt(() => file.name.endsWith('.onnx') ? takeModel(file) : show(file, file.name))
})
window.segmenterState = state
attempt(begin)
})()
