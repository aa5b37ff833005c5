// Elements, and lists that are kept in step with data without losing focus or selection.

// An element with properties, `data-`/`aria-` attributes and children; a null child is left out.
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && !name.includes("-")) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const byId = (id) => document.getElementById(id);

// Touch the page only where the text differs, so that nothing is announced or laid out in vain.
export function setText(node, text) {
  const wanted = String(text ?? "");
  if (node.textContent !== wanted) node.textContent = wanted;
}

export function setAttribute(node, name, value) {
  if (value === null || value === undefined) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

// One child of `parent` for each item, in their order: `make` builds a child, `update` brings it up to date. A child
// stays the same element for as long as its item's key is there.
export function keepList(parent, items, keyOf, make, update) {
  const known = (parent.kept ??= new Map());
  const wanted = new Set(items.map(keyOf));
  for (const [key, child] of known) {
    if (!wanted.has(key)) {
      child.remove();
      known.delete(key);
    }
  }
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let child = known.get(key);
    if (!child) {
      child = make(item);
      known.set(key, child);
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, item);
  }
}

// What a list says when there is nothing in it.
export function setEmpty(parent, isEmpty, text) {
  let note = parent.nextElementSibling;
  if (!note?.classList.contains("empty")) {
    note = el("p", { className: "empty" });
    parent.after(note);
  }
  setText(note, text);
  note.hidden = !isEmpty;
  parent.hidden = isEmpty;
}
