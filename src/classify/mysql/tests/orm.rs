//! Statements in the shape in which ORMs and query builders write them.

use super::super::super::Session;
use super::super::classify;

/// Each is understood on a shared connection, and calls nothing that a policy would have to list.
fn understood(statements: &[&str]) {
    for sql in statements {
        match classify(sql, Session::Shared) {
            Ok(found) => assert!(found.functions.is_empty(), "{sql}: {:?}", found.functions),
            Err(refusal) => panic!("{sql}: {refusal}"),
        }
    }
}

#[test]
fn javascript() {
    understood(&[
        // Prisma
        "SELECT `app`.`items`.`id`, `app`.`items`.`name` FROM `app`.`items` WHERE (`app`.`items`.`id` = ? AND 1=1) LIMIT ? OFFSET ?",
        "SELECT COUNT(*) FROM (SELECT `app`.`items`.`id` FROM `app`.`items` WHERE 1=1 LIMIT ? OFFSET ?) AS `sub`",
        "SELECT `t1`.`id`, `t1`.`name` FROM `app`.`items` AS `t1` WHERE (`t1`.`id`) IN (SELECT `t2`.`item_id` FROM `app`.`tags` AS `t2` INNER JOIN `app`.`items` AS `j` ON (`j`.`id`) = (`t2`.`item_id`) WHERE (`t2`.`name` = ? AND `t2`.`item_id` IS NOT NULL))",
        "SELECT JSON_OBJECT('id', `t1`.`id`, 'tags', COALESCE((SELECT JSON_ARRAYAGG(`__prisma_data__`) FROM (SELECT JSON_OBJECT('id', `t2`.`id`) AS `__prisma_data__` FROM `tags` AS `t2` WHERE `t2`.`item_id` = `t1`.`id`) AS `t3`), CONVERT('[]', JSON))) AS `data` FROM `items` AS `t1`",
        "INSERT IGNORE INTO `app`.`items` (`id`,`name`) VALUES (?,?), (DEFAULT,?)",
        "UPDATE `app`.`items` SET `n` = (`n` + ?), `at` = ? WHERE (`app`.`items`.`id` IN (?,?,?) AND 1=1)",
        "DELETE FROM `app`.`items` WHERE (`app`.`items`.`id` = ? AND 1=1)",
        "SELECT AVG(`n`), SUM(`n`), MIN(`n`), `kind` FROM (SELECT `n`, `kind` FROM `items`) AS `sub` GROUP BY `kind` HAVING AVG(`n`) > ?",
        // Sequelize
        "SELECT `Item`.`id`, `tags`.`id` AS `tags.id`, `tags->link`.`at` AS `tags.link.at` FROM `items` AS `Item` LEFT OUTER JOIN ( `links` AS `tags->link` INNER JOIN `tags` AS `tags` ON `tags`.`id` = `tags->link`.`tag_id`) ON `Item`.`id` = `tags->link`.`item_id` WHERE (`Item`.`gone` IS NULL)",
        "SELECT `Item`.*, `tags`.`id` AS `tags.id` FROM (SELECT `Item`.`id` FROM `items` AS `Item` WHERE ( SELECT `item_id` FROM `tags` AS `tags` WHERE (`tags`.`item_id` = `Item`.`id`) LIMIT 1 ) IS NOT NULL ORDER BY `Item`.`at` DESC LIMIT 0, 10) AS `Item` INNER JOIN `tags` AS `tags` ON `Item`.`id` = `tags`.`item_id`",
        "SELECT count(DISTINCT(`Item`.`id`)) AS `count` FROM `items` AS `Item`",
        "SELECT * FROM `items` WHERE (json_unquote(json_extract(`meta`,'$.\"a\".\"b\"')) = 'x' AND (`n` NOT BETWEEN 1 AND 5 OR `name` NOT LIKE '%x%'))",
        "INSERT INTO `items` (`id`,`name`) VALUES (1,'a'),(2,'b') ON DUPLICATE KEY UPDATE `name`=VALUES(`name`);",
        "UPDATE `items` SET `n`=`n`+ 1,`at`='2024-01-01 00:00:00' WHERE `id` = 3",
        "SELECT `id`, (SELECT COUNT(*) FROM tags WHERE tags.item_id = Item.id) AS `n` FROM `items` AS `Item` ORDER BY (`n` IS NULL), `Item`.`id` ASC",
        // TypeORM
        "SELECT DISTINCT `distinctAlias`.`Item_id` AS `ids_Item_id` FROM (SELECT `Item`.`id` AS `Item_id` FROM `item` `Item` LEFT JOIN `tag` `Item__Item_tags` ON `Item__Item_tags`.`itemId`=`Item`.`id` WHERE ((`Item`.`id` = ?))) `distinctAlias` ORDER BY `Item_id` ASC LIMIT 1",
        "SELECT COUNT(DISTINCT(`Item`.`id`)) AS `cnt` FROM `item` `Item` WHERE ( ((((`Item`.`name` LIKE ?) AND (`Item`.`n` > ?)))) )",
        "SELECT COUNT(1) AS `cnt` FROM `item` `Item`",
        "INSERT INTO `item`(`id`, `name`, `at`) VALUES (DEFAULT, ?, DEFAULT)",
        "UPDATE `item` SET `name` = ?, `at` = CURRENT_TIMESTAMP WHERE `id` IN (?)",
        "SELECT `version` FROM `item` WHERE `id` = ? FOR UPDATE",
        // Knex, Objection, Drizzle, Kysely, MikroORM
        "select `a`.*, `b`.`name` as `b:name` from `items` as `a` left join `tags` as `b` on `b`.`item_id` = `a`.`id` where `a`.`id` in (?, ?) and not `b`.`gone` <=> ? order by `a`.`at` desc limit ?",
        "select count(*) as `n` from (select 1 from `items` group by `kind`) as `sub`",
        "insert into `items` (`id`, `name`) values (?, ?) on duplicate key update `id` = `items`.`id`",
        "select `id`, `name`, (select json_arrayagg(json_array(`t`.`id`, `t`.`name`)) from `tags` `t` where `t`.`item_id` = `items`.`id`) as `tags` from `items` where exists (select 1 from `tags`) limit ?",
        "select `items`.`id`, `items_tags`.`data` as `tags` from `items` `items` left join lateral (select coalesce(json_arrayagg(json_array(`items_tags`.`id`)), json_array()) as `data` from `tags` `items_tags` where `items_tags`.`item_id` = `items`.`id`) `items_tags` on true where `items`.`id` = ?",
        "with `recent` as (select `id` from `items` where `at` > ?) select * from `recent` inner join `tags` on `tags`.`item_id` = `recent`.`id`",
        "update `items` set `n` = case when (`id` = 1) then 2 when (`id` = 3) then 4 else `n` end where `id` in (1, 3)",
        "delete from `items` where `id` in (select `id` from (select `id` from `items` where `gone` = true limit 10) as `x`)",
    ]);
}

#[test]
fn python_ruby_and_php() {
    understood(&[
        // Django
        "SELECT `items`.`id`, COUNT(`tags`.`id`) AS `n` FROM `items` LEFT OUTER JOIN `tags` ON (`items`.`id` = `tags`.`item_id`) GROUP BY `items`.`id` HAVING COUNT(`tags`.`id`) > 2 ORDER BY NULL",
        "SELECT `items`.`id` FROM `items` WHERE EXISTS(SELECT 1 AS `a` FROM `tags` U0 WHERE (U0.`item_id` = (`items`.`id`) AND U0.`name` LIKE BINARY '%x%') LIMIT 1)",
        "SELECT CAST(DATE_FORMAT(CONVERT_TZ(`items`.`at`, 'UTC', 'Europe/Oslo'), '%Y-%m-01 00:00:00') AS DATETIME) AS `m`, COUNT(`items`.`id`) AS `c` FROM `items` GROUP BY 1",
        "SELECT `items`.`id`, JSON_EXTRACT(`items`.`meta`, '$.\"a\"') FROM `items` WHERE JSON_CONTAINS(`items`.`meta`, '{\"a\": 1}') AND REGEXP_LIKE(`items`.`name`, '^x', 'c')",
        "UPDATE `items` SET `n` = CASE WHEN (`items`.`id` = 1) THEN 5 ELSE NULL END WHERE `items`.`id` IN (1)",
        "(SELECT `items`.`id` AS `col1` FROM `items`) UNION (SELECT `tags`.`id` AS `col1` FROM `tags`) ORDER BY (1) ASC",
        "SELECT `items`.`id` FROM `items` WHERE (`items`.`id`) IN (SELECT U0.`item_id` FROM `tags` U0) AND `items`.`at` >= '2024-01-01 00:00:00' FOR UPDATE OF `items` SKIP LOCKED",
        "SELECT (INTERVAL 86400000000 MICROSECOND + `items`.`at`), TIMESTAMPDIFF(MICROSECOND, `items`.`at`, `items`.`at2`) FROM `items`",
        // SQLAlchemy, peewee
        "SELECT items.id AS items_id, anon_1.n AS anon_1_n FROM items LEFT OUTER JOIN (SELECT tags.item_id AS item_id, count(*) AS n FROM tags GROUP BY tags.item_id) AS anon_1 ON items.id = anon_1.item_id",
        "SELECT items.id, row_number() OVER (PARTITION BY items.kind ORDER BY items.at DESC) AS rn FROM items WHERE items.name IS NOT NULL AND (items.name LIKE concat('%%', 'x', '%%'))",
        "WITH RECURSIVE tree(id, parent) AS (SELECT items.id AS id, items.parent AS parent FROM items WHERE items.parent IS NULL UNION ALL SELECT i.id AS id, i.parent AS parent FROM items AS i, tree AS t WHERE i.parent = t.id) SELECT tree.id FROM tree",
        "INSERT INTO items (id, name) VALUES (1, 'a') AS new ON DUPLICATE KEY UPDATE name = new.name, n = (items.n + 1)",
        "SELECT `t1`.`id` FROM `items` AS `t1` WHERE ((`t1`.`name` = 'a') OR (LOWER(SUBSTR(`t1`.`name`, 1, 1)) = 'a')) LIMIT 1 OFFSET 0",
        // ActiveRecord
        "SELECT 1 AS one FROM `items` WHERE `items`.`name` = BINARY 'a' AND `items`.`id` != 3 LIMIT 1",
        "SELECT `items`.`id` AS t0_r0, `items`.`name` AS t0_r1, `tags`.`id` AS t1_r0 FROM `items` LEFT OUTER JOIN `tags` ON `tags`.`item_id` = `items`.`id` WHERE `tags`.`name` IN ('a', 'b') ORDER BY `items`.`id` ASC LIMIT 11",
        "INSERT INTO `items` (`name`,`at`) VALUES ('a', CURRENT_TIMESTAMP(6)), ('b', CURRENT_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE `at`=(CASE WHEN (`name`<=>VALUES(`name`)) THEN `items`.`at` ELSE CURRENT_TIMESTAMP(6) END),`name`=VALUES(`name`)",
        "UPDATE `items` SET `items`.`n` = COALESCE(`items`.`n`, 0) + 1 WHERE `items`.`id` = 1 ORDER BY `items`.`id` ASC LIMIT 1",
        "SELECT /*+ MAX_EXECUTION_TIME(1000) */ `items`.* FROM `items` /* loading for inspect */ LIMIT 11",
        "SELECT COUNT(*) FROM `items` /*application:Shop,controller:items,action:index*/",
        // Laravel
        "select `items`.*, (select count(*) from `tags` where `items`.`id` = `tags`.`item_id`) as `tags_count` from `items` where `items`.`gone` is null order by `at` desc limit 15 offset 0",
        "select * from `items` where exists (select * from `tags` where `items`.`id` = `tags`.`item_id` and `name` = ?) and json_unquote(json_extract(`meta`, '$.\"a\"')) = ?",
        "select * from `items` where json_contains(`meta`, ?, '$.\"a\"') and date(`at`) = ? and year(`at`) = ? order by field(id, 3, 1, 2)",
        "select *, row_number() over (partition by `kind` order by `at` desc) as `laravel_row` from `items`",
        "insert ignore into `items` (`name`) values (?)",
        "insert into `items` (`id`, `n`) values (?, ?) on duplicate key update `n` = `n` + values(`n`)",
        "update `items` inner join `tags` on `tags`.`item_id` = `items`.`id` set `items`.`n` = ?, `items`.`at` = ?",
        "delete `items` from `items` inner join `tags` on `tags`.`item_id` = `items`.`id` where `tags`.`name` = ?",
        "select exists(select * from `items` where `id` = ?) as `exists`",
        // Doctrine
        "SELECT i0_.id AS id_0, i0_.name AS name_1 FROM items i0_ INNER JOIN links l2_ ON i0_.id = l2_.item_id INNER JOIN tags t1_ ON t1_.id = l2_.tag_id WHERE t1_.name = ? AND i0_.kind IN ('a') ORDER BY i0_.id ASC LIMIT 10 FOR UPDATE",
    ]);
}

#[test]
fn java_go_and_net() {
    understood(&[
        // Hibernate, jOOQ
        "select i1_0.id,i1_0.name,t1_0.item_id,t1_0.id from items i1_0 left join tags t1_0 on i1_0.id=t1_0.item_id where i1_0.id=?",
        "select i1_0.id from items i1_0 where i1_0.name like ? escape '' and (i1_0.n,i1_0.id) in ((?,?),(?,?)) order by i1_0.at desc limit ?,?",
        "select i1_0.id from items i1_0 where i1_0.id=? for update of i1_0 nowait",
        "select next_val as id_val from items_seq for update",
        "update items_seq set next_val= ? where next_val=?",
        "select coalesce(sum(i1_0.n),0), cast(i1_0.at as date), datediff(i1_0.at, now()) from items i1_0 group by 2 having count(*)>1",
        "insert into items (at,name,version,id) values (?,?,?,?)",
        "update items set name=?,version=? where id=? and version=?",
        "select `app`.`items`.`id`, dense_rank() over (order by `app`.`items`.`n` desc) as `r` from `app`.`items` where (`app`.`items`.`at` >= {ts '2024-01-01 00:00:00.0'} and true)",
        // GORM, ent, sqlc
        "SELECT * FROM `items` WHERE `items`.`id` = ? AND `items`.`deleted_at` IS NULL ORDER BY `items`.`id` LIMIT ?",
        "INSERT INTO `items` (`created_at`,`name`) VALUES (?,?) ON DUPLICATE KEY UPDATE `id`=`id`",
        "INSERT INTO `items` (`name`) VALUES (?) ON DUPLICATE KEY UPDATE `name`=VALUES(`name`),`n`=GREATEST(`items`.`n`,VALUES(`n`))",
        "SELECT `items`.`id`,`Owner`.`id` AS `Owner__id` FROM `items` LEFT JOIN `owners` `Owner` ON `items`.`owner_id` = `Owner`.`id` AND `Owner`.`deleted_at` IS NULL WHERE (name, n) IN ((?,?),(?,?))",
        "UPDATE `items` SET `n`=n * ? + ?,`updated_at`=? WHERE n > ? AND `items`.`deleted_at` IS NULL",
        "SELECT DISTINCT `t0`.`id`, `t0`.`name` FROM `items` AS `t0` JOIN (SELECT `tags`.`item_id` FROM `tags` WHERE `tags`.`id` = ?) AS `t1` ON `t0`.`id` = `t1`.`item_id`",
        "SELECT EXISTS (SELECT * FROM `items` WHERE `id` = ?)",
        // Entity Framework, Dapper
        "SELECT `i`.`Id`, `i`.`Name`, `t`.`Id` FROM `Items` AS `i` LEFT JOIN `Tags` AS `t` ON `i`.`Id` = `t`.`ItemId` WHERE (`i`.`Name` IS NOT NULL) AND (LEFT(`i`.`Name`, CHAR_LENGTH(?)) = ?) ORDER BY `i`.`Id`",
        "SELECT `i0`.`Id` FROM (SELECT `i`.`Id`, ROW_NUMBER() OVER(PARTITION BY `i`.`Kind` ORDER BY `i`.`At`) AS `row` FROM `Items` AS `i`) AS `i0` WHERE `i0`.`row` <= 3",
        "INSERT INTO `Items` (`Name`) VALUES (?) RETURNING `Id`",
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM `Items` AS `i`) THEN TRUE ELSE FALSE END",
        "SELECT `i`.`Id`, EXTRACT(year FROM `i`.`At`), DATE_ADD(`i`.`At`, INTERVAL CAST(1.0 AS signed) day) FROM `Items` AS `i` LIMIT 18446744073709551610 OFFSET 5",
    ]);
}
