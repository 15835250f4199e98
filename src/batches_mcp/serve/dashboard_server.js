function server({ header, scheme, name, path = "mcp" }) {
 let secret = "", last = 0;
 const typed = () => new Promise(resolve => {
  const input = el("input", { type: "password", autocomplete: "off", "aria-label": name });
  const form = el("form", {}, nav(input, el("button", {}, "Connect")));
  form.addEventListener("submit", event => { event.preventDefault(); resolve(input.value.trim()) });
  draw(title("Message batches"), soft(`This server asks for ${name}. It is kept in this page only.`), form);
  input.focus();
 });
 const request = async (method, params) => {
  const headers = { "content-type": "application/json", accept: "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25" };
  if (secret) headers[header] = scheme ? `${scheme} ${secret}` : secret;
  const id = ++last;
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify({ jsonrpc: "2.0", id, method, params }) });
  if (answer.status === 401 && header) {
   if (secret) error = "That was not right.";
   secret = await typed();
   error = "";
   return request(method, params);
  }
  const text = await answer.text();
  if (!answer.ok) throw Error(cut(text) || `The server answered ${answer.status}.`);
  const message = text.split(/\r?\n/).filter(line => line.startsWith("data:")).map(line => line.slice(5)).filter(line => line.trim()).map(line => JSON.parse(line)).find(each => each.id === id);
  if (!message || message.error) throw Error(cut(message?.error?.message) || "The server gave no answer.");
  return message.result;
 };
 return { request };
}
