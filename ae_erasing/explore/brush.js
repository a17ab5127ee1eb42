// The front end of `Brush` (nbs/12_explore/03_brush.ipynb): a canvas that sends what is painted on it
function render({ model, el }) {
  const canvas = document.createElement('canvas'), pen = canvas.getContext('2d'), photo = new Image()
  let before = [], stroke = null, at = [.5, .5], url = null
  const clip = v => Math.round(1e4*Math.min(1, Math.max(0, v)))/1e4
  function draw() {
    if (!photo.naturalWidth) return
    const w = canvas.width = photo.naturalWidth, h = canvas.height = photo.naturalHeight
    pen.drawImage(photo, 0, 0)
    pen.fillStyle = pen.strokeStyle = model.get('colour')
    pen.lineCap = pen.lineJoin = 'round'
    for (const [r, ...p] of stroke ? [...before, stroke] : model.get('strokes')) {
      if (r == 0) { pen.fillRect(p[0]*w, p[1]*h, (p[2]-p[0])*w, (p[3]-p[1])*h); continue }
      pen.lineWidth = 2*r*w
      pen.beginPath(); pen.arc(p[0]*w, p[1]*h, r*w, 0, 7); pen.fill()
      pen.beginPath(); pen.moveTo(p[0]*w, p[1]*h)
      for (let i = 0; i < p.length; i += 2) pen.lineTo(p[i]*w, p[i+1]*h)
      pen.stroke()
    }
    if (!canvas.matches(':focus-visible')) return
    for (const [width, colour] of [[4, '#000'], [2, '#fff']]) {
      pen.lineWidth = width; pen.strokeStyle = colour
      pen.beginPath(); pen.arc(at[0]*w, at[1]*h, model.get('size')*w, 0, 7); pen.stroke()
    }
  }
  function show() {
    const old = url
    url = URL.createObjectURL(new Blob([model.get('value')], { type: 'image/jpeg' }))
    photo.onload = () => { draw(); if (old) URL.revokeObjectURL(old) }
    photo.src = url
  }
  function send(strokes) { model.set('strokes', strokes); model.save_changes(); draw() }
  function place(e) {
    const b = canvas.getBoundingClientRect()
    return [clip((e.clientX-b.left)/b.width), clip((e.clientY-b.top)/b.height)]
  }
  canvas.addEventListener('pointerdown', e => {
    if (e.button) return
    canvas.setPointerCapture(e.pointerId)
    before = model.get('strokes')
    stroke = [model.get('size'), ...(at = place(e))]
    send([...before, stroke])
  })
  canvas.addEventListener('pointermove', e => {
    if (!stroke) return
    const to = place(e)
    if (Math.hypot(to[0]-at[0], to[1]-at[1]) < .01) return
    stroke = [...stroke, ...(at = to)]
    send([...before, stroke])
  })
  for (const e of ['pointerup', 'pointercancel']) canvas.addEventListener(e, () => { stroke = null; draw() })
  canvas.addEventListener('keydown', e => {
    const r = model.get('size'), ways = { ArrowLeft: [-r, 0], ArrowRight: [r, 0], ArrowUp: [0, -r], ArrowDown: [0, r] }
    const way = ways[e.key]
    if (way) at = at.map((v, i) => clip(v+way[i]))
    else if (e.key == ' ' || e.key == 'Enter') send([...model.get('strokes'), [r, ...at]])
    else return
    e.preventDefault(); e.stopPropagation()
    draw()
  })
  for (const e of ['focus', 'blur']) canvas.addEventListener(e, draw)
  const say = () => canvas.setAttribute('aria-label', model.get('alt'))
  canvas.tabIndex = 0
  canvas.setAttribute('role', 'application')
  el.setAttribute('data-lm-suppress-shortcuts', 'true')
  el.classList.add('ae-brush')
  el.append(canvas)
  say(); show()
  model.on('change:value', show); model.on('change:strokes', draw); model.on('change:alt', say)
  return () => { model.off('change:value', show); model.off('change:strokes', draw); model.off('change:alt', say) }
}
export default { render }
