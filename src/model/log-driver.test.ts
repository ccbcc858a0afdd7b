import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_LOG_POLICY, logAttributes, logPolicy } from './log-driver.ts';

const jsonFile = (Options: Record<string, string>) => ({ Name: 'json-file', Options });

test('who says nothing is bounded; a size alone means one file, as in Docker', () => {
  for (const silent of [undefined, {}, { Name: '' }, jsonFile({})])
    assert.deepEqual(logPolicy(silent), DEFAULT_LOG_POLICY);
  const files = (maxFileBytes: number, maxFiles: number, more = {}) => ({
    ...{ kind: 'files', maxFileBytes, maxFiles, compress: false, maxBacklogBytes: undefined },
    ...more,
  });
  assert.deepEqual(logPolicy(jsonFile({ 'max-size': '1m' })), files(1_000_000, 1));
  assert.deepEqual(logPolicy(jsonFile({ 'max-size': '1.5 KiB', 'max-file': '4' })), files(1500, 4));
  assert.deepEqual(logPolicy(jsonFile({ 'max-file': '2' })), files(10_000_000, 2));
  const packed = jsonFile({ compress: 'true', 'max-size': '1m', 'max-file': '2' });
  assert.deepEqual(logPolicy(packed), files(1_000_000, 2, { compress: true }));
  const buffered = jsonFile({ mode: 'non-blocking', 'max-buffer-size': '2m' });
  assert.deepEqual(logPolicy(buffered), files(10_000_000, 3, { maxBacklogBytes: 2 * 1024 * 1024 }));
  assert.deepEqual(logPolicy({ Name: 'none' }), { kind: 'none' });
});

const REFUSED: readonly (readonly [string, object])[] = [
  ["invalid size: 'ten'", jsonFile({ 'max-size': 'ten' })],
  ['max-size must be a positive number', jsonFile({ 'max-size': '0' })],
  ['max-file cannot be less than 1', jsonFile({ 'max-file': '0' })],
  ["invalid max-file: 'x' is not a number", jsonFile({ 'max-file': 'x' })],
  ["unknown log opt 'max-sise' for json-file log driver", jsonFile({ 'max-sise': '1m' })],
  ["unknown log opt 'max-size' for none log driver", { Name: 'none', Options: { 'max-size': '1m' } }],
  ['logger: logging mode not supported: fast', jsonFile({ mode: 'fast' })],
  ['invalid regular expression in a log option: (', jsonFile({ 'labels-regex': '(' })],
  ['log option tag: unclosed action in "{{.Name"', jsonFile({ tag: '{{.Name' })],
  [
    'log option tag: ".ImageID" is none of .ID, .FullID, .ContainerID, .Name, .ContainerName, .ImageName, ' +
      '.ContainerImageName, .DaemonName',
    jsonFile({ tag: '{{.Name}} {{ .ImageID }}' }),
  ],
  ['strconv.ParseBool: parsing "yes": invalid syntax', jsonFile({ compress: 'yes' })],
  ...[{}, { 'max-file': '2' }, { 'max-size': '1m' }, { 'max-size': '1m', 'max-file': '1' }].map(
    (more) =>
      [
        'compress cannot be true when max-file is less than 2 or max-size is not set',
        jsonFile({ compress: 'true', ...more } as Record<string, string>),
      ] as const,
  ),
  [
    "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
    jsonFile({ 'max-buffer-size': '1m' }),
  ],
  [
    "error parsing option max-buffer-size: invalid size: 'x'",
    jsonFile({ mode: 'non-blocking', 'max-buffer-size': 'x' }),
  ],
];

for (const [message, driver] of REFUSED)
  test(`refused: ${message}`, () => assert.throws(() => logPolicy(driver), { message }));

test('details are the labels and variables that the options name, and the tag', () => {
  const subject = (Options: Record<string, string>) => ({
    ...{ id: 'abcdef0123456789', name: 'web', image: 'team/app:1', logging: jsonFile(Options) },
    ...{ labels: { tier: 'front', other: 'x' }, env: ['A=1', 'B=x=y', 'UNSET'] },
  });
  assert.deepEqual(logAttributes(subject({ labels: 'tier,absent', env: 'B,UNSET' })), {
    tier: 'front',
    B: 'x=y',
  });
  assert.deepEqual(logAttributes(subject({ 'labels-regex': '^o', 'env-regex': 'A' })), {
    other: 'x',
    A: '1',
  });
  const tag = '{{.ID}} {{ .FullID }} {{.Name}}{{.ContainerName}} {{.ImageName}} {{.DaemonName}}';
  assert.deepEqual(logAttributes(subject({ tag })), {
    tag: 'abcdef012345 abcdef0123456789 web/web team/app:1 docker',
  });
  assert.deepEqual(logAttributes({ ...subject({}), logging: undefined }), {});
});
