// Runs once, when the volume is empty: the account that runs callers' commands, in its own database alone.
const password = require("fs").readFileSync("/run/secrets/mongodb_app_password", "utf8").trim();
db.getSiblingDB("enterprise_db").createUser({
  user: "bulkhead_app",
  pwd: password,
  roles: [{ role: "readWrite", db: "enterprise_db" }],
});
