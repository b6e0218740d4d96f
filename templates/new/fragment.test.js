// Run with `node --test` in this folder.
const assert = require("node:assert");
const { test } = require("node:test");
const { PARAMS, fragment } = require("./fragment.js");

test("it is HTML", () => {
  const values = Object.fromEntries(PARAMS.map((name) => [name, "example"]));
  assert.ok(fragment(values).startsWith("<p>"));
});
