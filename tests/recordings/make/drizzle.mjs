// Drizzle (node-postgres; mysql2).
import * as pg from "drizzle-orm/pg-core";
import * as my from "drizzle-orm/mysql-core";
import { and, asc, avg, count, countDistinct, desc, eq, exists, gt, ilike, inArray, isNull, like, max, ne, not, notInArray, or, relations, sql, sum, between } from "drizzle-orm";
import { drizzle as drizzlePg } from "drizzle-orm/node-postgres";
import { drizzle as drizzleMy } from "drizzle-orm/mysql2";
import { dialect, place, tables as t } from "./place.mjs";

const isPostgres = dialect === "postgres";
const connection = { host: place.host, port: place.port, user: place.user, password: place.password, database: place.database, ssl: { ca: place.ca } };
const make = isPostgres ? pg.pgTable : my.mysqlTable;
const d = isPostgres ? pg : my;
const json = isPostgres ? pg.jsonb : my.json;
const id = () => isPostgres ? pg.bigserial("id", { mode: "number" }).primaryKey() : my.bigint("id", { mode: "number" }).autoincrement().primaryKey();
const key = (name) => d.bigint(name, { mode: "number" });
const decimal = (name) => isPostgres ? pg.numeric(name) : my.decimal(name);
const owner = make(t.owner, { id: id(), email: d.varchar("email", { length: 255 }), name: d.varchar("name", { length: 255 }), status: d.varchar("status", { length: 16 }).default("active"), settings: json("settings"), version: isPostgres ? pg.integer("version") : my.int("version"), createdAt: d.timestamp("created_at").defaultNow(), deletedAt: d.timestamp("deleted_at") });
const profile = make(t.profile, { id: id(), ownerId: key("owner_id"), bio: d.text("bio"), bornOn: d.date("born_on") });
const child = make(t.child, { id: id(), ownerId: key("owner_id"), replyToId: key("reply_to_id"), title: d.varchar("title", { length: 255 }), body: d.text("body"), status: d.varchar("status", { length: 16 }).$default(() => "draft"), views: (isPostgres ? pg.integer("views") : my.int("views")).default(0), tags: json("tags") });
const ledger = make(t.ledger, { id: id(), ownerId: key("owner_id"), amount: decimal("amount"), currency: d.varchar("currency", { length: 3 }), kind: d.varchar("kind", { length: 16 }) });
const link = make(t.link, { id: id(), ownerId: key("owner_id"), childId: key("child_id"), label: d.varchar("label", { length: 64 }) });
const schema = {
  owner, profile, child, ledger, link,
  ownerRelations: relations(owner, ({ one, many }) => ({ profile: one(profile, { fields: [owner.id], references: [profile.ownerId] }), children: many(child), links: many(link) })),
  childRelations: relations(child, ({ one, many }) => ({ owner: one(owner, { fields: [child.ownerId], references: [owner.id] }), links: many(link) })),
  linkRelations: relations(link, ({ one }) => ({ owner: one(owner, { fields: [link.ownerId], references: [owner.id] }), child: one(child, { fields: [link.childId], references: [child.id] }) })),
};
const db = isPostgres ? drizzlePg({ connection, schema }) : drizzleMy({ connection, schema, mode: "planetscale" });

const ada = { email: "ada@example.com", name: "it's \\ 100%", settings: { theme: "dark" }, version: 1 };
const made = isPostgres ? await db.insert(owner).values(ada).returning({ id: owner.id }) : await db.insert(owner).values(ada).$returningId();
const adaId = made[0].id;
await db.insert(owner).values([1, 2].map((i) => ({ ...ada, email: `u${i}@example.com` })));
await db.insert(profile).values({ ownerId: adaId, bio: "b", bornOn: isPostgres ? "1815-12-10" : new Date("1815-12-10") });
await db.insert(child).values([0, 1, 2].map((i) => ({ ownerId: adaId, title: `t${i}`, tags: ["a"] })));
await db.insert(ledger).values({ ownerId: adaId, amount: "1.50", currency: "EUR", kind: "fee" });
const [first] = await db.select().from(child).limit(1);
await db.insert(link).values({ ownerId: adaId, childId: first.id });
if (isPostgres) {
  await db.insert(owner).values(ada).onConflictDoNothing();
  await db.insert(owner).values(ada).onConflictDoUpdate({ target: owner.email, set: { name: sql`excluded.name` }, setWhere: ne(owner.status, "x") }).returning();
  await db.update(child).set({ views: 3 }).where(eq(child.id, first.id)).returning({ id: child.id });
  await db.update(child).set({ views: 0 }).from(owner).where(and(eq(owner.id, child.ownerId), eq(owner.status, "gone")));
  await db.select().from(owner).where(ilike(owner.name, "%A%"));
  await db.selectDistinctOn([owner.status]).from(owner).orderBy(owner.status, owner.id);
  const gone = db.$with("gone").as(db.delete(child).where(eq(child.title, "none")).returning());
  await db.with(gone).select().from(gone);
} else {
  await db.insert(owner).values(ada).onDuplicateKeyUpdate({ set: { name: sql`values(${owner.name})` } });
  await db.insert(owner).ignore().values(ada);
  await db.update(child).set({ views: 0 }).where(eq(child.title, "x")).limit(3);
}
await db.select().from(owner).where(and(or(like(owner.name, "i%"), isNull(owner.deletedAt)), not(eq(owner.id, 9)), inArray(owner.id, [1, 2]), between(owner.id, 1, 9), notInArray(owner.id, [77]))).orderBy(desc(owner.createdAt), asc(owner.id)).limit(10).offset(5);
await db.select({ title: child.title, owner: owner.name, low: sql`lower(${child.title})` }).from(child).innerJoin(owner, eq(child.ownerId, owner.id)).leftJoin(profile, eq(profile.ownerId, owner.id));
await db.select({ currency: ledger.currency, total: sum(ledger.amount), mean: avg(ledger.amount), n: countDistinct(ledger.ownerId), m: max(ledger.id) }).from(ledger).groupBy(ledger.currency).having(({ n }) => gt(n, 0));
await db.select({ n: count() }).from(owner);
await db.$count(owner, eq(owner.status, "active"));
const counts = db.select({ ownerId: child.ownerId, n: sql`count(*)`.as("n") }).from(child).groupBy(child.ownerId).as("counts");
await db.select().from(owner).innerJoin(counts, eq(counts.ownerId, owner.id));
const drafts = db.$with("drafts").as(db.select().from(child).where(eq(child.status, "draft")));
await db.with(drafts).select().from(drafts);
await db.select().from(owner).where(exists(db.select().from(child).where(eq(child.ownerId, owner.id))));
await db.selectDistinct({ status: owner.status }).from(owner);
await db.select({ v: owner.name }).from(owner).unionAll(db.select({ v: child.title }).from(child));
await db.query.owner.findMany({ with: { children: { limit: 2 }, profile: true }, where: (o, { eq }) => eq(o.status, "active"), limit: 3 }).catch((e) => console.log("not here:", e.message.slice(0, 60)));
await db.query.child.findFirst({ columns: { title: true }, with: { owner: { columns: { name: true } }, links: { with: { owner: true } } }, extras: { low: sql`lower(title)`.as("low") } }).catch((e) => console.log("not here:", e.message.slice(0, 60)));
await db.update(child).set({ views: sql`${child.views} + 1`, body: null }).where(eq(child.ownerId, adaId));
await db.delete(child).where(eq(child.title, "none"));
const prepared = isPostgres ? db.select().from(owner).where(eq(owner.id, sql.placeholder("id"))).prepare("by_id") : db.select().from(owner).where(eq(owner.id, sql.placeholder("id"))).prepare();
await prepared.execute({ id: adaId });
await db.transaction(async (tx) => {
  await tx.select().from(owner).where(eq(owner.id, adaId)).for("update");
  await tx.select().from(owner).where(eq(owner.id, adaId)).for("share", { skipLocked: true }).catch(() => console.log("not here: for share"));
  await tx.transaction(async (inner) => { await inner.delete(child).where(eq(child.title, "none")); });
  await tx.transaction(async (inner) => { inner.rollback(); }).catch(() => {});
});
await db.transaction(async (tx) => { await tx.$count(owner); }, { isolationLevel: "repeatable read", accessMode: "read only" });
await db.execute(sql`select ${owner.name} from ${owner} where ${owner.id} = ${adaId}`);
process.exit(0);
