-- An example application: the pattern's five tables, with a few rows to ask for.

CREATE TABLE users (
    id         bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    email      varchar(255) NOT NULL UNIQUE,
    name       varchar(255) NOT NULL,
    status     enum('active', 'suspended', 'closed') NOT NULL DEFAULT 'active',
    created_at datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
) ENGINE = InnoDB;

CREATE TABLE user_profiles (
    user_id    bigint unsigned NOT NULL PRIMARY KEY,
    bio        text,
    avatar     varbinary(1024),
    born_on    date,
    CONSTRAINT user_profiles_user FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB;

CREATE TABLE user_preferences (
    user_id    bigint unsigned NOT NULL,
    name       varchar(100) NOT NULL,
    value      json NOT NULL,
    PRIMARY KEY (user_id, name),
    CONSTRAINT user_preferences_user FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB;

CREATE TABLE posts (
    id           bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id      bigint unsigned NOT NULL,
    title        varchar(255) NOT NULL,
    content      text NOT NULL,
    status       enum('draft', 'published', 'archived') NOT NULL DEFAULT 'draft',
    created_at   datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    published_at datetime(6),
    KEY posts_user (user_id, created_at),
    FULLTEXT KEY posts_text (title, content),
    CONSTRAINT posts_user FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB;

CREATE TABLE transactions (
    id         bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id    bigint unsigned NOT NULL,
    amount     decimal(19, 4) NOT NULL,
    currency   char(3) NOT NULL,
    kind       enum('deposit', 'withdrawal', 'transfer') NOT NULL,
    created_at datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    KEY transactions_user (user_id, created_at),
    CONSTRAINT transactions_user FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE = InnoDB;

INSERT INTO users (id, email, name) VALUES
    (1, 'ada@example.com', 'Ada Lovelace'),
    (2, 'grace@example.com', 'Grace Hopper'),
    (3, 'alan@example.com', 'Alan Turing');

INSERT INTO user_profiles (user_id, bio, born_on) VALUES
    (1, 'Wrote the first published program.', '1815-12-10'),
    (2, 'Found the first bug.', '1906-12-09');

INSERT INTO user_preferences (user_id, name, value) VALUES
    (1, 'theme', '"dark"'),
    (2, 'language', '"en"');

INSERT INTO posts (user_id, title, content, status, published_at) VALUES
    (1, 'Notes on the Analytical Engine', 'It can do whatever we know how to order it to perform.', 'published', '1843-09-01'),
    (2, 'On compilers', 'Nobody believed that it could be done.', 'draft', NULL);

INSERT INTO transactions (user_id, amount, currency, kind) VALUES
    (1, 100.0000, 'GBP', 'deposit'),
    (2, 19.9900, 'USD', 'withdrawal')
