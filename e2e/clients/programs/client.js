// Asks each URL every 100 ms, over a new connection, and says how it went.
const https = require("https");

const ask = (url) =>
  new Promise((resolve) => {
    https
      .get(url, { agent: false, timeout: 5000 }, (response) => {
        response.resume();
        response.on("end", () => resolve(response.statusCode === 200 ? "ok" : `failed: ${response.statusCode}`));
      })
      .on("error", (error) => resolve(`failed: ${error.message}`));
  });

const main = async () => {
  for (;;) {
    for (const url of process.argv.slice(2)) {
      console.log(url, await ask(url));
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};

main();
