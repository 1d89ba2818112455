// Asks each URL every 100 ms, over a new connection, and says how it went. It trusts what Node.js has read at its start;
// with -reload, it reads the file that NODE_EXTRA_CA_CERTS names before each connection, and trusts nothing else.
const fs = require("fs");
const https = require("https");

const reload = process.argv[2] === "-reload";
const urls = process.argv.slice(reload ? 3 : 2);

const trusted = () => (reload ? { ca: fs.readFileSync(process.env.NODE_EXTRA_CA_CERTS) } : {});

const ask = (url) =>
  new Promise((resolve) => {
    https
      .get(url, { agent: false, timeout: 5000, ...trusted() }, (response) => {
        response.resume();
        response.on("end", () => resolve(response.statusCode === 200 ? "ok" : `failed: ${response.statusCode}`));
      })
      .on("error", (error) => resolve(`failed: ${error.message}`));
  });

const main = async () => {
  for (;;) {
    for (const url of urls) {
      console.log(url, await ask(url));
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};

main();
