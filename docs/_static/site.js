// Widgets ask MathJax 2 to set formulas in their labels; the pages have MathJax 3
window.addEventListener('load', () => {
  const m = window.MathJax;
  if (m && !m.Hub) m.Hub = {Queue: ([what, , where]) => what==='Typeset' && m.typesetPromise && m.typesetPromise([where])};
});
