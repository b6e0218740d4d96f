// The nanoservice @NAME@. `fragment` makes its HTML; the rest answers requests with Node's standard library.
const { createHash } = require("node:crypto");
const { createServer } = require("node:http");

const PARAMS = [@PARAMS@];

const escape = (text) => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

/** The HTML for the values of the parameters. Escape whatever is not your own text. */
function fragment(values) {
  const shown = Object.entries(values).map(([name, value]) => `, ${name} = ${escape(value)}`).join("");
  return `<p>Hello from @NAME@${shown}.</p>`;
}

function answer(request, response) {
  const query = new URL(request.url, "http://localhost").searchParams;
  const values = Object.fromEntries(PARAMS.map((name) => [name, query.get(name) ?? ""]));
  if (!Object.values(values).every((value) => /^[a-z0-9-]{1,40}$/.test(value))) {
    response.writeHead(400, { "Content-Type": "text/html; charset=utf-8" });
    response.end();
    return;
  }
  const body = fragment(values);
  const tag = `"${createHash("sha256").update(body).digest("hex").slice(0, 16)}"`;
  const isKnown = request.headers["if-none-match"] === tag;
  const headers = { "Content-Type": "text/html; charset=utf-8", "Cache-Control": "max-age=60", ETag: tag };
  response.writeHead(isKnown ? 304 : 200, headers);
  response.end(isKnown ? undefined : body);
}

if (require.main === module) {
  createServer(answer).listen(process.env.PORT, "127.0.0.1");
}

module.exports = { PARAMS, fragment };
