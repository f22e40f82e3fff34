/* Elements. el('button', { class: 'x', onClick: f }, children…): children are texts, elements, and lists of them; an object that came as data is
 * shown as text, never taken for an element. */
import { h, Component, render } from '../lib/preact.js';

const Element = h('p', null).constructor;

function child(value) {
    if (Array.isArray(value))
        return value.map(child);
    if (value !== null && typeof value === 'object' && !(value instanceof Element))
        return String(value);
    return value;
}

export function el(kind, attributes, ...children) {
    return h(kind, attributes, ...children.map(child));
}

export { Component, render };
