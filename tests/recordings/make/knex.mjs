// Knex (pg; mysql2), and Objection's style of queries through it.
import knex from "knex";
import { dialect, place, tables as t } from "./place.mjs";

const db = knex({
  client: dialect === "postgres" ? "pg" : "mysql2",
  connection: { host: place.host, port: place.port, user: place.user, password: place.password, database: place.database, ssl: { ca: place.ca } },
});
const isPostgres = dialect === "postgres";
const owner = { email: "ada@example.com", name: "it's \\ 100%", status: "active", settings: JSON.stringify({ theme: "dark", n: [1] }), created_at: new Date() };
const made = await db(t.owner).insert(owner, ["id"]);
const id = isPostgres ? made[0].id : made[0];
await db(t.owner).insert([1, 2].map((i) => ({ ...owner, email: `u${i}@example.com` })));
await db(t.profile).insert({ owner_id: id, bio: "b", born_on: "1815-12-10", avatar: Buffer.from([0, 255, 39, 92]) });
await db.batchInsert(t.child, [0, 1, 2, 3].map((i) => ({ owner_id: id, title: `t${i}`, status: "draft", tags: "[]" })), 2);
await db(t.ledger).insert({ owner_id: id, amount: "1.50", currency: "EUR", kind: "fee" });
await db(t.owner).insert(owner).onConflict("email").merge(["name"]);
await db(t.owner).insert(owner).onConflict("email").ignore();
await db(t.owner).insert(owner).onConflict("email").merge().where(isPostgres ? `${t.owner}.status` : db.raw("1"), isPostgres ? "active" : 1).catch(() => {});
await db.select("*").from(t.owner).where({ id }).first();
await db(t.owner).where("name", "like", "it%").orWhere((q) => q.whereNull("deleted_at").andWhereNot("status", "x")).orderBy("id", "desc").limit(10).offset(5);
await db(t.owner).whereIn("id", [1, 2]).whereNotIn("id", []).whereBetween("id", [1, 9]).whereRaw("?? = ?", ["status", "active"]);
await db(t.owner).whereILike("name", "%IT%");
await db(t.owner).whereLike("email", "a%").catch(() => {});
await db(t.owner).whereExists(db(t.child).select(db.raw(1)).whereRaw(`${t.child}.owner_id = ${t.owner}.id`));
await db(t.owner).whereIn("id", db(t.child).select("owner_id").where("views", ">", 3));
await db(`${t.child} as c`).join(`${t.owner} as o`, "c.owner_id", "o.id").leftJoin(`${t.profile} as p`, (j) => j.on("p.owner_id", "=", "o.id").andOnNotNull("p.bio")).select("o.name as owner", "c.*");
await db(t.ledger).select("currency").sum("amount as total").avg("amount as mean").countDistinct("owner_id as n").groupBy("currency").having("total", ">", 0).catch(() => {});
await db(t.ledger).select("currency").sum("amount as total").groupBy("currency").havingRaw("sum(amount) > ?", [0]);
await db(t.child).count("* as n").max("views as m");
await db(t.child).select("id").rank("r", (w) => w.orderBy("views", "desc").partitionBy("owner_id"));
await db(t.child).rowNumber("n", ["id"], ["owner_id"]);
await db.with("drafts", db(t.child).where("status", "draft")).select("*").from("drafts");
await db.withRecursive("tree", (q) => q.select("id", "reply_to_id").from(t.child).whereNull("reply_to_id").unionAll((u) => u.select("c.id", "c.reply_to_id").from(`${t.child} as c`).join("tree", "tree.id", "c.reply_to_id"))).select("id").from("tree");
await db(t.owner).select("name").union([db(t.child).select("title")], true);
await db(t.owner).distinct("status").pluck("status");
await db(t.owner).jsonExtract("settings", "$.theme", "theme").whereJsonPath("settings", "$.theme", "=", "dark");
await db(t.owner).whereJsonObject("settings", { theme: "dark" });
if (isPostgres) await db(t.owner).whereJsonSupersetOf("settings", { theme: "dark" }).distinctOn("status");
await db(t.child).where({ owner_id: id }).update({ status: "live", views: db.raw("views + 1") }, isPostgres ? ["id"] : undefined);
await db(t.child).where({ owner_id: id }).increment("views", 2).update({ updated_at: undefined, title: "z" });
await db(t.child).where({ title: "none" }).del();
await db.transaction(async (trx) => {
  await trx(t.owner).where({ id }).forUpdate().first();
  await trx(t.owner).where({ id }).forUpdate().skipLocked();
  await trx(t.owner).where({ id }).forShare().noWait();
  await trx(t.child).insert({ owner_id: id, title: "in", status: "draft" });
  await trx.transaction(async (inner) => inner(t.child).where({ title: "in" }).del());
  await trx.transaction(async () => { throw new Error("back"); }).catch(() => {});
});
await db.transaction(async (trx) => trx(t.owner).count("id"), { isolationLevel: "repeatable read" });
await db.transaction(async (trx) => trx(t.owner).count("id"), { readOnly: true });
await db.raw(`select name from ${t.owner} where id = ?`, [id]);
await db(t.owner).columnInfo();
await db.destroy();
