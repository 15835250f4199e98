// The life of a batch with the official SDK for TypeScript; the same as life.py.
import readline from 'node:readline/promises';
import Anthropic from '@anthropic-ai/sdk';

const lines = readline.createInterface({ input: process.stdin });
// Has the test's clock go on until batches have ended.
const advance = async () => {
  console.log('advance');
  await new Promise((resolve) => lines.once('line', resolve));
};
const ask = (name, text = 'hi') => ({
  custom_id: name,
  params: { model: 'claude-haiku-5-5', max_tokens: 64, messages: [{ role: 'user', content: text }] },
});

const client = new Anthropic();
const batches = client.messages.batches;
const counted = await client.messages.countTokens({ model: 'claude-haiku-5-5', messages: [{ role: 'user', content: 'hi' }] });
const requests = [ask('late', '[[sandbox:expired]]'), ...Array.from({ length: 300 }, (_, number) => ask(`r${number}`))];
const batch = await batches.create({ requests });
const listed = [];
for await (const each of batches.list({ limit: 1 })) listed.push(each.id);
await advance();
const outcomes = {};
for await (const row of await batches.results(batch.id)) outcomes[row.result.type] = (outcomes[row.result.type] ?? 0) + 1;
const other = await batches.create({ requests: [ask('other')] });
const canceled = (await batches.cancel(other.id)).processing_status;
await advance();
const ended = (await batches.retrieve(other.id)).processing_status;
const deleted = (await batches.delete(batch.id)).type;
let error = [];
try {
  await batches.retrieve(batch.id);
} catch (found) {
  const name = found instanceof Anthropic.NotFoundError ? 'NotFoundError' : String(found);
  error = [name, found.status, found.headers?.get('x-should-retry') ?? null];
}
lines.close();
console.log(
  JSON.stringify({
    counted: counted.input_tokens > 0,
    listed: listed.length === 1 && listed[0] === batch.id,
    outcomes,
    canceled,
    ended,
    deleted,
    error,
    id: batch.id,
  }),
);
