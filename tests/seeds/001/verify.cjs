// One webhook a line on standard input: {"secret", "headers", "body"}. Prints how many the library accepted.
const { Webhook } = require("standardwebhooks");

const lines = require("fs").readFileSync(0, "utf8").split("\n").filter(Boolean);
for (const line of lines) {
  const { secret, headers, body } = JSON.parse(line);
  // Throws on a signature or a time that it does not like.
  new Webhook("whsec_" + Buffer.from(secret).toString("base64")).verify(body, headers);
}
console.log(lines.length);
