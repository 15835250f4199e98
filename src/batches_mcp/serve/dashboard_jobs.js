jobs = (() => {
 let all = [], job, seen;
 const look = path => host.request("resources/read", { uri: "batches://jobs" + path }).then(({ contents }) => JSON.parse(contents[0].text));
 // A job in the words of a batch: its parts take the place of requests.
 const told = ({ id, label, state, parts: { done, failed, canceled, ...left }, cost_usd, estimate_usd: high, failed: rows }) => [{
  id, processing_status: state, request_counts: { succeeded: done, errored: failed, canceled, processing: sum(left) },
 }, { label, cost_usd, estimate: { cost_usd: { high } } }, rows];
 const list = () => awaited(look(""), page);
 const open = ({ id }) => awaited(look("/" + id), found => { job = found; card() }, job && card);

 function page(answer) {
  all = answer.jobs;
  batch = job = null;
  const { shown: some, range, steps } = pager(all, () => page(answer));
  draw(
   title("Jobs"), soft(all[0] ? "parts done, rows failed" : "There are none.", range, answer.has_more && "older ones are left out"),
   all[0] && overview("Job", some.map(told), open),
   nav(batches(), button("Refresh", list), ...steps),
  );
 }

 function card() {
  const [parts, known, failed] = told(job), few = inline() ? 1 : 9;
  // What was asked for of a batch may come late.
  turn++;
  batch = null;
  draw(
   title(job.label || "Job"), soft(job.id, job.state, `${job.finished_at ? "ended" : "submitted"} ${new Date(job.finished_at || job.created_at).toLocaleString()}`), bar(parts),
   el("p", {}, `${count(job.rows)} rows · ${count(job.succeeded)} succeeded · ${count(failed)} failed`),
   soft("Parts", ...Object.entries(job.parts).map(([state, parts]) => `${count(parts)} ${state}`)), soft(cost(known)),
   ...[job.error, ...job.notes.map(({ part, note }) => `part ${part}: ${note}`)].filter(Boolean).slice(0, few).map(clamped),
   causeTable(job.causes.slice(0, few)),
   nav(button("All jobs", list), job.batches > 0 && button("Batches", made), button("Refresh", () => open(job))),
  );
  wait();
 }

 function wait() {
  clearTimeout(timer);
  if (!job.finished_at && !over) timer = setTimeout(() => document.hidden ? wait() : open(job), 15e3 * 2 ** Math.min(misses, 3));
 }

 function made() {
  clearTimeout(timer);
  const { shown: some, range, steps } = pager(job.message_batches, made);
  draw(
   title("Batches of " + (job.label || "the job")), soft(range),
   table("rows", ["Part", "State", "Batch"], some.map(({ part, part_state, id }) => [count(part), part_state, tools.status ? named(id, () => asked("status", { id }, show)) : id])),
   nav(back(), ...steps),
  );
 }

 const back = () => job && button("The job", card);
 return {
  list,
  back,
  // Beside a list of batches: a host may refuse to look for jobs.
  beside(answer, again) {
   job = null;
   if (seen !== answer) {
    const mine = turn;
    seen = answer;
    look("").then(found => { all = found.jobs; if (mine === turn && !batch) again() }, () => {});
   }
   return all[0] && button(`Jobs: ${count(all.length)}`, list);
  },
 };
})();
