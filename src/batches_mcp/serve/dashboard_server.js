function server({ header, scheme, name, path = "mcp", approvals }) {
 let secret = "", last = 0, waiting;
 const carried = () => ({ "content-type": "application/json", ...(secret && { [header]: scheme ? `${scheme} ${secret}` : secret }) });
 const typed = () => new Promise(resolve => {
  const input = el("input", { type: "password", autocomplete: "off", "aria-label": name });
  const form = el("form", {}, nav(input, el("button", {}, "Connect")));
  form.addEventListener("submit", event => { event.preventDefault(); resolve(input.value.trim()) });
  draw(title("Message batches"), soft(`This server asks for ${name}. It is kept in this page only.`), form);
  input.focus();
 });
 const request = async (method, params) => {
  const headers = { ...carried(), accept: "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25" };
  const id = ++last;
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify({ jsonrpc: "2.0", id, method, params }) });
  if (answer.status === 401 && header) {
   if (secret) error = "That was not right.";
   secret = await typed();
   error = "";
   return request(method, params);
  }
  if (approvals && waiting === undefined) await look();
  const text = await answer.text();
  if (!answer.ok) throw Error(cut(text) || `The server answered ${answer.status}.`);
  const message = text.split(/\r?\n/).filter(line => line.startsWith("data:")).map(line => line.slice(5)).filter(line => line.trim()).map(line => JSON.parse(line)).find(each => each.id === id);
  if (!message || message.error) throw Error(cut(message?.error?.message) || "The server gave no answer.");
  return message.result;
 };
 // What waits for an approval is shown to those alone who may answer it.
 const look = async () => {
  const answer = await fetch(approvals, { headers: carried() });
  waiting = answer.ok ? (await answer.json()).approvals : null;
 };
 const reply = async (id, given) => {
  busy = true;
  wait();
  try {
   const said = await fetch(`${approvals}/${id}`, { method: "POST", headers: carried(), body: JSON.stringify({ answer: given }) });
   error = said.ok ? "" : cut((await said.json()).error.message);
   await look();
  } catch (failure) { error = failure.message }
  busy = false;
  wait();
 };
 const again = () => { at = 0; look().then(wait, failure => { error = failure.message; wait() }) };
 function wait() {
  turn++;
  clearTimeout(timer);
  batch = null;
  const what = each => plain((each.job ? `job ${each.job} (${count(each.batches)} ${each.batches === 1 ? "batch" : "batches"}, ${each.models}): ` : "") + (each.label || each.source || each.id));
  const answers = each => each.may_answer ? el("div", {}, ...["Approve", "Deny"].map(word => button(word, () => reply(each.id, word.toLowerCase()), { "aria-label": `${word} ${what(each)}` }))) : "for somebody else";
  const all = waiting || [], { shown: some, range, steps } = pager(all, wait);
  draw(
   title("Waiting for an approval"), soft(all.length ? range : "Nothing waits."),
   all.length > 0 && table("waiting", ["Create", "Asked by", "Requests", "Cost", "Answer"], some.map(each => [
    clamped(what(each)), clamped(`${plain(each.principal)}, team ${plain(each.team)}`), count(each.rows),
    each.estimate_usd == null ? "not known" : `up to ${dollars(each.estimate_usd)}`, answers(each),
   ])),
   nav(batches(), button("Refresh", again), ...steps),
  );
 }
 return { request, approvals: () => waiting && button(`Approvals: ${count(waiting.length)}`, wait) };
}
