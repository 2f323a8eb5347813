// Runs in a page that has loaded; returns what is wrong with it, one sentence each. See check_browser.py.
async ({ scheme, width }) => {
  const TALLEST = 900; // pixels of a piece of code or of an output
  const problems = [];
  const article = document.querySelector("article.bd-article") ?? document.body;
  const frames = (n) => new Promise((done) => {
    const step = () => (n-- > 0 ? requestAnimationFrame(step) : done());
    step();
  });
  const name = (e) => {
    const id = e.id ? `#${e.id}` : "";
    const text = (e.textContent ?? "").trim().slice(0, 40);
    return `<${e.localName}${id} class="${e.getAttribute("class") ?? ""}"> ${text}`;
  };

  // Equations: each is set, none holds an error.
  const equations = [...document.querySelectorAll(".math")];
  if (equations.length || document.querySelector("mjx-container")) {
    if (!window.MathJax?.startup?.promise) problems.push("there is mathematics and no MathJax");
    else await MathJax.startup.promise;
  }
  const unset = equations.filter((e) => !e.querySelector("mjx-container"));
  if (unset.length) problems.push(`${unset.length} of ${equations.length} equations are not set: ${name(unset[0])}`);
  for (const e of document.querySelectorAll("mjx-merror, [data-mjx-error]"))
    problems.push(`equation with an error: ${e.getAttribute("data-mjx-error") ?? e.textContent}`);

  // Pictures: each has come.
  for (const image of document.images) {
    image.loading = "eager";
    await image.decode().catch(() => {});
    if (!image.complete || image.naturalWidth === 0) problems.push(`picture has not come: ${image.src.slice(0, 100)}`);
  }
  await document.fonts.ready;
  await frames(2);

  // The colours asked for.
  if (document.documentElement.dataset.theme !== scheme)
    problems.push(`shown ${document.documentElement.dataset.theme}, asked for ${scheme}`);

  // Nothing is wider than the window or its column, and what would be scrolls by itself instead of being cut.
  const over = document.documentElement.scrollWidth - window.innerWidth;
  if (over > 0) problems.push(`${over} px wider than the window`);
  const scrolls = (e) => /auto|scroll/.test(getComputedStyle(e).overflowX);
  const hidden = (e) => e.closest("mjx-assistive-mml, .headerlink, .visually-hidden, .sr-only, template, defs, svg *");
  const column = Math.min(window.innerWidth, article.getBoundingClientRect().right);
  const cut = [...article.querySelectorAll("*")].filter((e) => {
    const box = e.getBoundingClientRect();
    if (box.width < 2 || box.height < 2 || box.right <= column + 1 || hidden(e)) return false;
    for (let a = e; a && a !== article.parentElement; a = a.parentElement) if (scrolls(a)) return false;
    return true;
  });
  if (cut.length) problems.push(`runs out of its column and cannot be scrolled to: ${name(cut[0])}`);

  // A table is seen whole where the window is wide: it need not be scrolled sideways.
  for (const table of width > 1000 ? article.querySelectorAll("table") : []) {
    for (let a = table.parentElement; a && a !== article; a = a.parentElement)
      if (scrolls(a) && a.scrollWidth > a.clientWidth + 1) {
        problems.push(`table scrolls sideways, by ${a.scrollWidth - a.clientWidth} px: ${name(table)}`);
        break;
      }
  }

  // No code and no output is taller than a screen.
  for (const e of article.querySelectorAll("pre, .cell_output > *")) {
    const height = e.getBoundingClientRect().height;
    if (height > TALLEST) problems.push(`${Math.round(height)} px tall, more than ${TALLEST}: ${name(e)}`);
  }

  // Text can be read on its ground (contrast of at least 3; 4.5 is what the theme aims at).
  const parse = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const light = ([r, g, b]) => {
    const part = (v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const ground = (e) => {
    const layers = [];
    for (let a = e; a; a = a.parentElement) {
      const style = getComputedStyle(a);
      if (style.backgroundImage !== "none") return null;
      const layer = parse(style.backgroundColor);
      layers.push(layer);
      if (layer[3] === 1) break;
    }
    return layers.reduceRight((under, [r, g, b, a]) =>
      [r, g, b].map((v, i) => v * a + under[i] * (1 - a)), [255, 255, 255]);
  };
  const faint = new Map();
  for (const e of article.querySelectorAll("*")) {
    if (e.closest("svg, mjx-container, .headerlink, script, style, button, .visually-hidden")) continue;
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.getClientRects().length) continue;
    const under = ground(e);
    if (!under) continue;
    const [r, g, b, a] = parse(getComputedStyle(e).color);
    const over = [r, g, b].map((v, i) => v * a + under[i] * (1 - a));
    const [low, high] = [light(over), light(under)].sort((x, y) => x - y);
    const contrast = (high + 0.05) / (low + 0.05);
    const key = `${e.localName}.${e.getAttribute("class") ?? ""}`;
    if (contrast < 3 && !faint.has(key)) faint.set(key, `${contrast.toFixed(1)}: ${name(e)}`);
  }
  for (const text of faint.values()) problems.push(`hard to read, contrast ${text}`);

  // Sliders: each end of each shows another picture.
  const picture = (figure) =>
    [...figure.querySelectorAll("svg, canvas, img")].map((e) =>
      e.localName === "canvas" ? e.toDataURL() : e.localName === "img" ? `${e.src}${getComputedStyle(e).display}`
        : e.outerHTML + getComputedStyle(e).display).join();
  for (const slider of document.querySelectorAll("input[type=range]")) {
    const figure = slider.closest(".interactive");
    if (!figure) {
      problems.push(`slider outside of an interactive figure: ${name(slider)}`);
      continue;
    }
    const before = slider.value;
    const seen = [];
    for (const end of [slider.min || 0, slider.max || 100]) {
      slider.value = end;
      for (const kind of ["input", "change"]) slider.dispatchEvent(new Event(kind, { bubbles: true }));
      await frames(3);
      seen.push(picture(figure));
    }
    if (seen[0] === seen[1]) problems.push(`slider moves nothing: ${name(slider)}`);
    if (slider.getBoundingClientRect().width < 80) problems.push(`slider too small to be moved: ${name(slider)}`);
    slider.value = before;
    for (const kind of ["input", "change"]) slider.dispatchEvent(new Event(kind, { bubbles: true }));
  }
  await frames(2);
  return problems;
}
