// Prisma 7 (its query compiler is part of the package; pg and mariadb adapters). Makes its client first.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { dialect, place, tables as t } from "./place.mjs";

const isPostgres = dialect === "postgres";
fs.writeFileSync(`prisma-${dialect}.prisma`, `
generator client {
  provider = "prisma-client-js"
  output = "./prisma-${dialect}"
}
datasource db {
  provider = "${isPostgres ? "postgresql" : "mysql"}"
}
model Owner {
  id BigInt @id @default(autoincrement())
  email String @unique
  name String
  status String @default("active")
  balance Decimal @default(0) @db.Decimal(14, 2)
  settings Json?
  version Int @default(1)
  createdAt DateTime? @default(now()) @map("created_at")
  updatedAt DateTime? @updatedAt @map("updated_at")
  deletedAt DateTime? @map("deleted_at")
  profile Profile?
  children Child[]
  entries Ledger[]
  links Link[]
  @@map("${t.owner}")
}
model Profile {
  id BigInt @id @default(autoincrement())
  ownerId BigInt @unique @map("owner_id")
  owner Owner @relation(fields: [ownerId], references: [id])
  bio String?
  avatar Bytes?
  @@map("${t.profile}")
}
model Child {
  id BigInt @id @default(autoincrement())
  ownerId BigInt @map("owner_id")
  owner Owner @relation(fields: [ownerId], references: [id])
  replyToId BigInt? @map("reply_to_id")
  replyTo Child? @relation("replies", fields: [replyToId], references: [id], onDelete: NoAction, onUpdate: NoAction)
  replies Child[] @relation("replies")
  title String
  body String?
  status String @default("draft")
  views Int @default(0)
  tags Json?
  links Link[]
  @@map("${t.child}")
}
model Ledger {
  id BigInt @id @default(autoincrement())
  ownerId BigInt @map("owner_id")
  owner Owner @relation(fields: [ownerId], references: [id])
  amount Decimal @db.Decimal(14, 2)
  currency String
  kind String
  @@map("${t.ledger}")
}
model Link {
  id BigInt @id @default(autoincrement())
  ownerId BigInt @map("owner_id")
  owner Owner @relation(fields: [ownerId], references: [id])
  childId BigInt @map("child_id")
  child Child @relation(fields: [childId], references: [id])
  label String?
  @@unique([ownerId, childId])
  @@map("${t.link}")
}
`);
execFileSync("node_modules/.bin/prisma", ["generate", "--schema", `prisma-${dialect}.prisma`], {
  stdio: "ignore",
  // Only migrations need the engine that it would fetch.
  env: { ...process.env, PRISMA_SCHEMA_ENGINE_BINARY: "/bin/true" },
});
const { PrismaClient } = (await import(`./prisma-${dialect}/index.js`)).default;
const connection = { host: place.host, port: place.port, user: place.user, password: place.password, database: place.database, ssl: { ca: place.ca } };
const adapter = isPostgres ? new (await import("@prisma/adapter-pg")).PrismaPg(connection) : new (await import("@prisma/adapter-mariadb")).PrismaMariaDb(connection);
const db = new PrismaClient({ adapter });
const attempt = (query) => query.catch((error) => console.log("not here:", error.message.slice(-160)));

const ada = await db.owner.create({ data: { email: "ada@example.com", name: "it's \\ 100%", settings: { theme: "dark", n: [1] }, profile: { create: { bio: "b", avatar: Buffer.from([0, 255, 39, 92]) } }, children: { create: [{ title: "t0", tags: ["a"] }, { title: "t1" }] } }, include: { children: true, profile: true } });
await db.owner.createMany({ data: [1, 2].map((i) => ({ email: `u${i}@example.com`, name: "u" })), skipDuplicates: true });
await db.ledger.createMany({ data: [1, 2, 3].map((i) => ({ ownerId: ada.id, amount: `${i}.50`, currency: "EUR", kind: "fee" })) });
await db.child.create({ data: { title: "reply", owner: { connect: { email: "ada@example.com" } }, replyTo: { connect: { id: ada.children[0].id } } } });
await db.link.create({ data: { ownerId: ada.id, childId: ada.children[0].id } });
if (isPostgres) await db.child.createManyAndReturn({ data: [{ ownerId: ada.id, title: "m" }] });
await db.owner.upsert({ where: { email: "ada@example.com" }, update: { name: "U" }, create: { email: "ada@example.com", name: "x" } });
await db.owner.upsert({ where: { email: "new@example.com" }, update: { profile: { create: { bio: "x" } } }, create: { email: "new@example.com", name: "x" }, include: { profile: true } });
await db.owner.findUnique({ where: { id: ada.id } }); await db.owner.findUniqueOrThrow({ where: { email: "ada@example.com" }, include: { profile: true, children: { include: { replies: true }, where: { status: "draft" }, orderBy: { id: "desc" }, take: 2 }, links: { include: { child: true } } } });
await db.owner.findFirst({ where: { OR: [{ name: { contains: "a%" } }, { email: { endsWith: ".com" } }], NOT: { status: { in: ["x", "y"] } }, deletedAt: null, id: { gt: 0, not: 99 } }, orderBy: [{ createdAt: "desc" }, { id: "asc" }], skip: 0 });
if (isPostgres) await db.owner.findMany({ where: { name: { startsWith: "I", mode: "insensitive" } } });
await db.owner.findMany({ skip: 1, take: 2, cursor: { id: ada.id }, orderBy: { id: "asc" }, select: { id: true, name: true, _count: { select: { children: true } } } });
await db.owner.findMany({ where: { children: { some: { views: { gte: 0 } }, none: { status: "gone" }, every: { title: { not: "" } } }, profile: { is: { bio: "b" } } }, orderBy: { children: { _count: "desc" } } });
await db.owner.findMany({ distinct: ["status"], where: { id: { in: [] } } });
await attempt(db.owner.findMany({ where: { settings: { path: isPostgres ? ["theme"] : "$.theme", equals: "dark" } } }));
await attempt(db.owner.findMany({ where: { settings: { path: isPostgres ? ["theme"] : "$.theme", string_contains: "da" } } }));
await db.child.findMany({ where: { owner: { name: { not: "x" } } }, include: { owner: { include: { profile: true } } } });
await db.owner.count({ where: { status: "active" } }); await db.ledger.aggregate({ _sum: { amount: true }, _avg: { amount: true }, _max: { id: true }, _count: true });
await db.ledger.groupBy({ by: ["currency"], _sum: { amount: true }, having: { amount: { _sum: { gt: 0 } } }, orderBy: { _sum: { amount: "desc" } } });
await db.owner.update({ where: { id: ada.id }, data: { name: "Ada L.", version: { increment: 1 }, children: { updateMany: { where: { status: "draft" }, data: { views: { multiply: 2 } } }, create: { title: "nested" }, deleteMany: { title: "none" } } } });
await db.child.updateMany({ where: { ownerId: ada.id, views: { lt: 9 } }, data: { views: { increment: 1 } } });
if (isPostgres) await db.child.updateManyAndReturn({ where: { title: "m" }, data: { body: "b" } });
await db.child.deleteMany({ where: { title: { startsWith: "zz" } } }); await db.owner.delete({ where: { email: "u2@example.com" } });
await attempt(db.owner.delete({ where: { id: ada.id } }));
await db.$transaction([db.owner.count(), db.child.updateMany({ data: { views: 0 } })]);
await db.$transaction(async (tx) => { await tx.child.create({ data: { title: "in", ownerId: ada.id } }); await tx.$queryRaw`SELECT 1`; }, { isolationLevel: "Serializable" });
await attempt(db.$transaction(async () => { throw new Error("back"); }));
await db.$queryRawUnsafe(`SELECT name FROM ${t.owner} WHERE id = ${isPostgres ? "$1" : "?"}`, ada.id); await db.$executeRawUnsafe(`UPDATE ${t.child} SET views = 1 WHERE id = ${isPostgres ? "$1" : "?"}`, 1);
await db.$disconnect();
