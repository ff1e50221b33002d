// What the clients and servers here share. TYPESCRIPT_SDKS leads to the installed packages, which are not beside these files.
import { createRequire } from "node:module";

export const require = createRequire(`${process.env.TYPESCRIPT_SDKS}/`);
export const { z } = require("zod");

// tell prints one line of JSON for the test.
export const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

// Signals wait for each other by name, whoever comes first: set(name) lets all go on that await of(name).
export class Signals {
  #byName = new Map();

  #get(name) {
    if (!this.#byName.has(name)) this.#byName.set(name, Promise.withResolvers());
    return this.#byName.get(name);
  }

  of(name) {
    return this.#get(name).promise;
  }

  set(name) {
    this.#get(name).resolve();
  }
}
