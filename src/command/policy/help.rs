//! What `--help` says below the options: examples, and what the exit codes mean.

pub(super) const CHECK: &str = "\
Examples:
  bulkhead policy check policy.toml
  bulkhead policy check policies.d --format json

Exit codes: 0 valid, perhaps with warnings; 2 refused, or not to be read.";

pub(super) const EXPLAIN: &str = "\
Examples:
  bulkhead policy explain --policy policy.toml --role app --store mysql 'SELECT * FROM users'
  bulkhead policy explain --policy policy.toml --role app --store mongodb '{\"find\": \"event_store\"}'
  bulkhead policy explain --policy policy.toml --role app --store redis 'GET cache:1'
  bulkhead policy explain --policy policy.toml --batch < requests.jsonl

It has no database, so it judges the text alone: what views, triggers and foreign keys reach, a running sidecar
tells (POST /v1/explain). A role in shadow mode is judged as if the policy were in force.

Exit codes: 0 allowed (with --batch: every line was answered); 1 denied; 2 a fault of the policy or the options.";

pub(super) const TEST: &str = "\
A case:
  [[case]]
  role = \"app\"
  store = \"postgres\"
  request = \"SELECT * FROM users\"
  expect = \"deny\"
  code = \"policy.wrong_store\"

Exit codes: 0 all pass; 1 some fail, or, with --require-coverage, something is not exercised; 2 a fault of the policy
or the cases, or no case.";

pub(super) const GRANTS: &str = "\
Examples:
  bulkhead policy grants --policy policy.toml --store postgres | psql \"$ADMIN_URL\"
  bulkhead policy grants --policy policy.toml --store postgres --verify \"$ADMIN_URL\" --account bulkhead_app
  bulkhead policy grants --policy policy.toml --store postgres --verify \"$ADMIN_URL\" --account bulkhead_app --fix
  bulkhead policy grants --policy policy.toml --store mysql --verify --config bulkhead.toml

--fix also drops the roles that the policy no longer has; comments name what it leaves to you. Read it before you run it.

Exit codes: 0 printed, or the server grants what the policy does; 1 it does not; 2 a fault of the policy, the options
or the connection.";

pub(super) const DIFF: &str = "\
Examples:
  bulkhead policy diff <(git show HEAD:policy.toml) policy.toml
  bulkhead policy diff old.toml new.toml --replay requests.jsonl.1 --replay requests.jsonl

`+` is newly allowed, `-` newly denied, `~` otherwise.

Exit codes: 0 nothing differs; 1 something does; 2 a fault of a policy or of the record.";

pub(super) const SCHEMA: &str = "\
Example:
  bulkhead policy schema > policy.schema.json

An editor with Taplo (Even Better TOML) finds it by a policy's first line:
  #:schema ./policy.schema.json";
