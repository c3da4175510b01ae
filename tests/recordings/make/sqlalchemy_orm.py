"""SQLAlchemy 2 (psycopg; PyMySQL): ORM and Core in ordinary use."""

import datetime as dt
import decimal

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import mysql, postgresql

from place import DIALECT, place
from schema import TABLES

T = TABLES[DIALECT]
Json = postgresql.JSONB() if DIALECT == "postgres" else sa.JSON()


class Base(orm.DeclarativeBase):
    pass


class Link(Base):
    __tablename__ = T["link"]
    id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True)
    owner_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey(f"{T['owner']}.id"))
    child_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey(f"{T['child']}.id"))
    label: orm.Mapped[str | None]


class Owner(Base):
    __tablename__ = T["owner"]
    id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True)
    email: orm.Mapped[str]
    name: orm.Mapped[str]
    status: orm.Mapped[str] = orm.mapped_column(default="active")
    balance: orm.Mapped[decimal.Decimal] = orm.mapped_column(sa.Numeric(14, 2), default=0)
    settings: orm.Mapped[dict | None] = orm.mapped_column(Json)
    version = orm.mapped_column(sa.Integer, nullable=False)
    created_at: orm.Mapped[dt.datetime | None] = orm.mapped_column(server_default=sa.func.now())
    updated_at: orm.Mapped[dt.datetime | None] = orm.mapped_column(onupdate=sa.func.now())
    deleted_at: orm.Mapped[dt.datetime | None]
    profile: orm.Mapped["Profile"] = orm.relationship(back_populates="owner", cascade="all, delete-orphan")
    children: orm.Mapped[list["Child"]] = orm.relationship(back_populates="owner", cascade="all, delete-orphan")
    ledger: orm.Mapped[list["Ledger"]] = orm.relationship(lazy="raise", passive_deletes=True)
    liked: orm.Mapped[list["Child"]] = orm.relationship(secondary=Link.__table__)
    __mapper_args__ = {"version_id_col": version}


class Profile(Base):
    __tablename__ = T["profile"]
    id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True)
    owner_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey(f"{T['owner']}.id"))
    bio: orm.Mapped[str | None]
    born_on: orm.Mapped[dt.date | None]
    avatar: orm.Mapped[bytes | None]
    owner: orm.Mapped[Owner] = orm.relationship(back_populates="profile")


class Child(Base):
    __tablename__ = T["child"]
    id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True)
    owner_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey(f"{T['owner']}.id"))
    reply_to_id: orm.Mapped[int | None] = orm.mapped_column(sa.ForeignKey(f"{T['child']}.id"))
    title: orm.Mapped[str]
    body: orm.Mapped[str | None] = orm.mapped_column(sa.Text, deferred=True)
    status: orm.Mapped[str] = orm.mapped_column(default="draft")
    views: orm.Mapped[int] = orm.mapped_column(default=0)
    tags: orm.Mapped[list | None] = orm.mapped_column(Json)
    published_at: orm.Mapped[dt.datetime | None]
    created_at: orm.Mapped[dt.datetime | None] = orm.mapped_column(default=sa.func.now())
    owner: orm.Mapped[Owner] = orm.relationship(back_populates="children")
    replies: orm.Mapped[list["Child"]] = orm.relationship()


class Ledger(Base):
    __tablename__ = T["ledger"]
    id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True)
    owner_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey(f"{T['owner']}.id"))
    amount: orm.Mapped[decimal.Decimal] = orm.mapped_column(sa.Numeric(14, 2))
    currency: orm.Mapped[str]
    kind: orm.Mapped[str]
    meta: orm.Mapped[dict | None] = orm.mapped_column(Json)
    created_at: orm.Mapped[dt.datetime | None] = orm.mapped_column(server_default=sa.func.now())


def engine(**options):
    if DIALECT == "postgres":
        url = sa.URL.create("postgresql+psycopg", place.user, place.password, place.host, place.port, place.database)
        arguments = {"sslmode": "verify-full", "sslrootcert": place.ca}
    else:
        url = sa.URL.create("mysql+pymysql", place.user, place.password, place.host, place.port, place.database)
        arguments = {"ssl": {"ca": place.ca}}
    return sa.create_engine(url, connect_args=arguments, **options)


def create_and_read(s):
    ada = Owner(email="ada@example.com", name="Ada", settings={"theme": "dark", "n": {"a": [1, 2]}})
    ada.profile = Profile(bio="it's \\ \"quoted\"", born_on=dt.date(1815, 12, 10), avatar=b"\x00\xff'\\")
    ada.children = [Child(title=f"t{i}", body="b", tags=["a", "b"]) for i in range(3)]
    s.add(ada)
    s.add_all([Owner(email=f"u{i}@example.com", name=f"U{i}") for i in range(3)])
    s.flush()
    ada.children[0].replies.append(Child(title="reply", owner=ada))
    ada.liked.append(ada.children[1])
    s.add_all([Ledger(owner_id=ada.id, amount=decimal.Decimal(i), currency="EUR", kind="deposit", meta={"ip": "::1"}) for i in range(4)])
    s.commit()
    s.get(Owner, ada.id)
    s.refresh(ada)
    ada.name = "Ada L."
    ada.settings = {"theme": "light"}
    s.commit()
    _ = ada.profile.bio, [c.body for c in ada.children], ada.liked, ada.children[0].replies
    s.scalars(sa.select(Owner).where(Owner.email == "ada@example.com")).one()
    return ada.id


def load(s):
    q = sa.select(Owner)
    s.scalars(q.options(orm.selectinload(Owner.children))).all()
    s.expire_all()
    s.scalars(q.options(orm.joinedload(Owner.children).joinedload(Child.replies), orm.joinedload(Owner.profile))).unique().all()
    s.scalars(q.options(orm.subqueryload(Owner.liked)).order_by(Owner.id).limit(2)).all()
    s.scalars(q.join(Owner.children).where(Child.title.like("t%")).distinct()).all()
    s.scalars(q.outerjoin(Owner.profile).where(Profile.id.is_(None))).all()
    s.scalars(q.where(Owner.children.any(Child.status == "draft"), ~Owner.liked.any())).all()
    s.scalars(sa.select(Child).where(Child.owner.has(Owner.name.ilike("%A%")))).all()
    s.scalars(q.where(Owner.id.in_([1, 2, 3]), Owner.id.not_in([9]), Owner.name.between("A", "Z"))).all()
    s.scalars(q.where(Owner.id.in_([]))).all()
    s.scalars(q.options(orm.load_only(Owner.name)).order_by(Owner.created_at.desc(), Owner.name.asc()).limit(10).offset(5)).all()
    s.scalars(q.where(sa.or_(Owner.name.startswith("A", autoescape=True), Owner.email.contains("x%", autoescape=True)))).all()
    s.scalars(sa.select(Child).where(sa.tuple_(Child.status, Child.id) > ("draft", 3)).limit(3)).all()
    s.scalars(q.where(Owner.deleted_at.is_(None)).with_for_update()).all()
    s.scalars(q.with_for_update(skip_locked=True, of=Owner)).all()
    s.scalars(q.with_for_update(read=True, nowait=True)).all()
    s.rollback()


def aggregate(s):
    total = sa.func.sum(Ledger.amount).label("total")
    s.execute(sa.select(sa.func.count()).select_from(Owner)).scalar()
    s.execute(sa.select(Ledger.currency, total, sa.func.avg(Ledger.amount), sa.func.max(Ledger.created_at)).group_by(Ledger.currency).having(total > 1)).all()
    s.execute(sa.select(sa.func.count(sa.distinct(Child.owner_id)), sa.func.coalesce(sa.func.sum(Child.views), 0))).all()
    rank = sa.func.row_number().over(partition_by=Child.owner_id, order_by=Child.created_at.desc()).label("rank")
    ranked = sa.select(Child.id, rank).subquery()
    s.execute(sa.select(ranked).where(ranked.c.rank == 1)).all()
    running = sa.func.sum(Ledger.amount).over(order_by=Ledger.id, rows=(None, 0))
    s.execute(sa.select(Ledger.id, running)).all()
    per_owner = sa.select(Child.owner_id, sa.func.count().label("n")).group_by(Child.owner_id).cte("per_owner")
    s.execute(sa.select(Owner.name, per_owner.c.n).join(per_owner, per_owner.c.owner_id == Owner.id)).all()
    tree = sa.select(Child.id, Child.reply_to_id).where(Child.reply_to_id.is_(None)).cte("tree", recursive=True)
    child = orm.aliased(Child)
    tree = tree.union_all(sa.select(child.id, child.reply_to_id).join(tree, child.reply_to_id == tree.c.id))
    s.execute(sa.select(tree)).all()
    s.execute(sa.union_all(sa.select(Owner.name), sa.select(Child.title)).order_by("name")).all()
    s.execute(sa.select(sa.case((Child.views > 10, "hot"), else_="cold"), sa.cast(Child.views, sa.String), sa.extract("year", Child.created_at))).all()
    s.execute(sa.select(sa.exists().where(Child.owner_id == 1))).scalar()
    latest = sa.select(sa.func.max(Child.id)).where(Child.owner_id == Owner.id).correlate(Owner).scalar_subquery()
    s.execute(sa.select(Owner.id, latest)).all()
    s.execute(sa.select(Owner.settings["theme"].as_string(), Child.tags[0]).join(Child).where(Owner.settings["n"]["a"].is_not(None))).all()
    s.execute(sa.select(Owner.id).where(Owner.settings["theme"].as_string() == "dark")).all()
    if DIALECT == "postgres":
        s.execute(sa.select(Owner.id).where(Owner.settings.contains({"theme": "dark"}), Owner.settings.has_key("theme"), Owner.settings["n"].astext != "x")).all()
        s.execute(sa.select(Owner.id, sa.func.array_agg(postgresql.aggregate_order_by(Child.title, Child.id.desc()))).join(Child).group_by(Owner.id)).all()
        s.execute(sa.select(sa.func.jsonb_array_elements_text(Child.tags))).all()
        lateral = sa.select(Child.title).where(Child.owner_id == Owner.id).limit(1).lateral("last")
        s.execute(sa.select(Owner.name, lateral.c.title).join(lateral, sa.true())).all()
        s.execute(sa.select(Owner).distinct(Owner.status).order_by(Owner.status, Owner.id)).all()
        s.execute(sa.select(Child.id).where(sa.func.to_tsvector("english", Child.body).bool_op("@@")(sa.func.plainto_tsquery("english", "b")))).all()
    s.commit()


def write(s, ada):
    s.execute(sa.insert(Child), [{"owner_id": ada, "title": f"bulk{i}"} for i in range(5)])
    s.execute(sa.update(Child).where(Child.status == "draft").values(views=Child.views + 1))
    s.execute(sa.update(Child), [{"id": 1, "title": "x"}, {"id": 2, "title": "y"}])
    s.execute(sa.update(Owner).where(Owner.id.in_(sa.select(Child.owner_id).where(Child.views > 99))).values(status="hot"))
    s.execute(sa.delete(Child).where(Child.title.like("bulk%"), Child.views == 77))
    s.execute(sa.insert(Ledger).from_select(["owner_id", "amount", "currency", "kind"], sa.select(Owner.id, sa.literal(0), sa.literal("EUR"), sa.literal("fee"))))
    row = {"email": "ada@example.com", "name": "Ada", "status": "active", "balance": 1, "version": 1}
    if DIALECT == "postgres":
        insert = postgresql.insert(Owner).values(row)
        s.execute(insert.on_conflict_do_nothing(index_elements=["email"]))
        s.execute(insert.on_conflict_do_update(index_elements=[Owner.email], set_={"name": insert.excluded.name}, where=Owner.status != "closed").returning(Owner.id))
        s.execute(sa.insert(Child).returning(Child.id, Child.created_at), [{"owner_id": ada, "title": "r"}, {"owner_id": ada, "title": "s"}]).all()
        s.execute(sa.update(Child).where(Child.title == "r").values(views=3).returning(Child)).all()
        gone = sa.delete(Child).where(Child.title == "s").returning(Child.id).cte("gone")
        s.execute(sa.select(sa.func.count()).select_from(gone)).all()
        s.execute(sa.update(Child).values(views=0).where(Child.owner_id == Owner.id, Owner.status == "gone"))
    else:
        insert = mysql.insert(Owner).values(row)
        s.execute(insert.on_duplicate_key_update(name=insert.inserted.name, updated_at=sa.func.now()))
        s.execute(sa.insert(Owner).prefix_with("IGNORE").values(row))
        s.execute(sa.update(Child).values({Child.views: 0}).where(Child.owner_id == Owner.id, Owner.status == "gone"))
        s.execute(sa.select(Child.id).where(mysql.match(Child.title, Child.body, against="t").in_boolean_mode())) if False else None
    with s.begin_nested():
        s.add(Child(title="nested", owner_id=ada))
    try:
        with s.begin_nested():
            s.add(Owner(email="ada@example.com", name="again"))
            s.flush()
    except sa.exc.IntegrityError:
        pass
    s.commit()
    owner = s.get(Owner, ada)
    s.delete(owner.children[-1])
    s.commit()
    s.execute(sa.text("SELECT id, name FROM " + T["owner"] + " WHERE id = :id"), {"id": ada}).all()
    s.rollback()


def main():
    e = engine()
    with orm.Session(e) as s:
        ada = create_and_read(s)
        load(s)
        aggregate(s)
        write(s, ada)
    with engine(isolation_level="REPEATABLE READ", pool_pre_ping=True).connect() as c:
        c.execute(sa.select(Owner.id)).all()
        c.commit()
    with engine(isolation_level="AUTOCOMMIT").connect() as c:
        c.execute(sa.select(1)).all()
    with e.connect().execution_options(stream_results=True, yield_per=2) as c:
        c.execute(sa.select(Child.id)).all()


main()
