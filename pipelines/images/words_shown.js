() => {
  const found = [], walker = document.createTreeWalker(document.body || document, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const holder = node.parentElement, style = holder && getComputedStyle(holder);
    if (!style || style.visibility !== "visible" || +style.opacity < 0.3 || style.display === "none") continue;
    for (const match of node.textContent.matchAll(/\S+/g)) {
      const range = document.createRange();
      range.setStart(node, match.index); range.setEnd(node, match.index + match[0].length);
      const boxes = range.getClientRects();
      if (boxes.length !== 1) continue;
      const {left, top, right, bottom} = boxes[0];
      if (right - left < 1 || left < 0 || top < 0 || right > innerWidth || bottom > innerHeight) continue;
      const above = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
      if (!above || !(above === holder || holder.contains(above))) continue;
      const shown = {uppercase: w => w.toUpperCase(), lowercase: w => w.toLowerCase(),
                     capitalize: w => w[0].toUpperCase() + w.slice(1)}[style.textTransform] || (w => w);
      found.push([shown(match[0]), left, top, right, bottom]);
    }
  }
  return found;
}
