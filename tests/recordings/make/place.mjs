// Where the recorded server is (set by record.py), and what the tables are called there.
import fs from "node:fs";

const { env } = process;
export const dialect = env.RECORD_DIALECT;
export const place = {
  host: "127.0.0.1",
  port: Number(env.RECORD_PORT),
  user: env.RECORD_USER,
  password: env.RECORD_PASSWORD,
  database: env.RECORD_DATABASE,
  ca: fs.readFileSync(env.RECORD_CA, "utf8"),
};
export const tables = {
  postgres: { owner: "api_keys", profile: "rate_limit_overrides", child: "sessions", ledger: "audit_logs", link: "oauth2_tokens" },
  mysql: { owner: "users", profile: "user_profiles", child: "posts", ledger: "transactions", link: "user_preferences" },
}[dialect];
