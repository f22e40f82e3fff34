/* A browser that does what it is told: one JSON object a line on stdin ({"do": …}), one on stdout ({"value": …} or {"error": …}). For tests/panelbrowser.py. */
import { createInterface } from 'node:readline';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(process.argv[2] + '/');
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const browser = await chromium.launch({ executablePath: process.env.PVESR_BROWSER, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] });
let context, page, faults = [], answers = [];

const find = ({ role, name, label, text, css, exact = true, within }) => {
    const root = within ? page.locator(within) : page;
    if (role)
        return root.getByRole(role, { name, exact });
    if (text)
        return root.getByText(text);
    return label ? root.getByLabel(label, { exact }) : root.locator(css);
};

const commands = {
    async open({ url, width = 1280, height = 800, scheme = 'light', locale = 'en-GB', zone = 'UTC', now }) {
        await commands.close();
        context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width, height }, colorScheme: scheme, locale, timezoneId: zone });
        page = await context.newPage();
        if (now)
            await page.clock.setFixedTime(now * 1000);
        page.setDefaultTimeout(Number(process.env.PVESR_BROWSER_TIMEOUT || 20000));
        page.on('pageerror', (e) => faults.push(`error: ${e.stack}`));
        page.on('response', (r) => answers.push(`${r.request().method()} ${new URL(r.url()).pathname} ${r.status()}`));
        page.on('requestfailed', (r) => answers.push(`${r.method()} ${new URL(r.url()).pathname} ${r.failure()?.errorText}`));
        page.on('console', (m) => {
            // what a request failed with is shown to the user, and Chromium says it, too
            if (m.type() === 'error' && !m.text().startsWith('Failed to load resource'))
                faults.push(`console: ${m.text()}`);
        });
        await page.goto(url);
    },
    async close() {
        await context?.close();
        context = undefined;
        faults = [];
        answers = [];
    },
    goto: ({ url }) => page.goto(url),
    back: () => page.goBack(),
    reload: () => page.reload(),
    size: (size) => page.setViewportSize(size),
    scheme: ({ scheme }) => page.emulateMedia({ colorScheme: scheme }),
    click: (what) => find(what).first().click(what.twice ? { clickCount: 2 } : {}),
    fill: (what) => find(what).first().fill(what.value),
    choose: (what) => find(what).first().selectOption(what.value),
    tick: (what) => find(what).first().setChecked(what.value),
    press: ({ key }) => page.keyboard.press(key),
    wait: ({ state = 'visible', seconds, ...what }) => find(what).first().waitFor({ state, timeout: seconds && seconds * 1000 }),
    count: (what) => find(what).count(),
    text: (what) => find(what).first().innerText(),
    texts: (what) => find(what).allInnerTexts(),
    url: () => page.url(),
    run: ({ script }) => page.evaluate(script),
    shot: ({ path }) => page.screenshot({ path, animations: 'disabled' }),
    faults: () => faults,
    /* What axe-core finds serious or critical: [rule, what it says, the elements]. */
    async axe({ rules }) {
        await page.evaluate(axe);
        const found = await page.evaluate((only) => window.axe.run(document, { resultTypes: ['violations'], ...(only && { runOnly: only }) }), rules);
        return found.violations.filter((one) => ['serious', 'critical'].includes(one.impact))
            .map((one) => [one.id, one.help, one.nodes.map((node) => `${node.html.slice(0, 200)} ${node.failureSummary}`)]);
    },
};

/* What somebody would look at who wants to know why: the page as it is, and what was asked last. */
async function scene() {
    const text = await page?.evaluate(() => document.body.innerText).catch((e) => e.message);
    return ` [the page: ${JSON.stringify((text ?? 'none').slice(0, 600))}; asked last: ${answers.slice(-8).join(', ')}]`;
}

for await (const line of createInterface({ input: process.stdin })) {
    const told = JSON.parse(line);
    let answer;
    try {
        answer = { value: (await commands[told.do](told)) ?? null };
        if (typeof answer.value === 'object' && answer.value !== null && !Array.isArray(answer.value))
            answer.value = null;
    } catch (e) {
        answer = { error: e.message + (context ? await scene() : '') };
    }
    process.stdout.write(JSON.stringify(answer) + '\n');
}
await browser.close();
