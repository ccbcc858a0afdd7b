// A reporter for node:test that leaves the counts of the whole run as one JSON object.
// Suites are not tests: only leaves count, so that "N passed" means N behaviours. One that is skipped as a whole has no
// leaves; it counts as one that was skipped, and why each was is kept.
export default async function* summary(source) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const reasons = new Set();
  for await (const event of source) {
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    const { skip, todo, details } = event.data;
    const isSkipped = skip !== undefined || todo !== undefined;
    if (details?.type === 'suite' && !isSkipped) continue;
    if (isSkipped) {
      counts.skipped += 1;
      reasons.add(typeof skip === 'string' && skip !== '' ? skip : 'no reason was given');
    } else if (event.type === 'test:pass') counts.passed += 1;
    else counts.failed += 1;
  }
  yield JSON.stringify({ ...counts, reasons: [...reasons] });
}
