/* Requests to /api2/json. What fails throws an ApiError: its text is the server's, `fields` what it says of single parameters.
 * Forms are sent as Proxmox VE's own panel sends them. */

const BASE = '/api2/json';
const DEADLINE = 30000; // ms
export const LONG = 620000; // of what takes long, as the server ends it
const AGAIN = 2000; // behind an answer that there is too much to do

export class ApiError extends Error {
    constructor(status, text, fields = {}) {
        super(text);
        this.status = status; // 0: no answer
        this.fields = fields;
    }
}

let csrf = null;
let onUnknown = () => {};

/* token: CSRFPreventionToken of the ticket in the cookie. */
export function apiUseToken(token) {
    csrf = token;
}

/* Called when the server knows the caller no more (401). */
export function apiOnUnknown(callback) {
    onUnknown = callback;
}

/* undefined and null are not sent; booleans as 1 and 0. */
export function encode(parameters) {
    const form = new URLSearchParams();
    for (const [key, value] of Object.entries(parameters))
        if (value !== undefined && value !== null)
            form.set(key, typeof value === 'boolean' ? Number(value) : value);
    return form;
}

async function failure(response) {
    let body = {};
    try {
        body = await response.json();
    } catch {
        // the status line says it, too
    }
    const text = String(body.message || response.statusText || `HTTP ${response.status}`).trim();
    return new ApiError(response.status, text, body.errors || {});
}

async function answer(method, path, parameters, signal) {
    const form = encode(parameters);
    const inUrl = method === 'GET' || method === 'DELETE';
    const text = String(form);
    const query = inUrl && text ? `?${text}` : '';
    const headers = method !== 'GET' && csrf ? { CSRFPreventionToken: csrf } : {};
    return fetch(BASE + path + query, { method, headers, signal, credentials: 'same-origin', body: inUrl ? undefined : form });
}

/* A server that has too much to do is asked again; what would change something is not: who sent it decides. */
async function patient(method, path, parameters, deadline) {
    const signal = AbortSignal.timeout(deadline);
    for (const end = Date.now() + Math.min(deadline, DEADLINE); ;) {
        const response = await answer(method, path, parameters, signal);
        if (response.status !== 503 || method !== 'GET' || Date.now() + AGAIN >= end)
            return response;
        await new Promise((then) => setTimeout(then, AGAIN));
    }
}

/* The whole envelope: `data`, for some calls `total`. */
export async function call(method, path, parameters = {}, deadline = DEADLINE) {
    let response;
    try {
        response = await patient(method, path, parameters, deadline);
    } catch (e) {
        throw new ApiError(0, e.name === 'TimeoutError' ? 'timeout' : 'unreachable');
    }
    if (!response.ok) {
        const e = await failure(response);
        if (e.status === 401 && path !== '/access/ticket')
            onUnknown();
        throw e;
    }
    return response.json();
}

export async function get(path, parameters) {
    return (await call('GET', path, parameters)).data;
}

/* A part of a path: names come from the cluster. */
export const part = encodeURIComponent;
