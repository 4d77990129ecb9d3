-- What a catalog must survive. The catalog of this is in mariadb.yaml beside it.
CREATE DATABASE legacy CHARACTER SET utf8mb4;
CREATE DATABASE `Old Stock` CHARACTER SET utf8mb4;
CREATE TABLE legacy.t_cust (
    cust_no int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    email varchar(80) COMMENT 'where we write to; pii: email',
    nick varchar(20) DEFAULT 'no',
    boss_no int unsigned,
    FOREIGN KEY (boss_no) REFERENCES legacy.t_cust (cust_no) ON DELETE SET NULL
) COMMENT 'it''s the "customers"
and # prospects: yes	tabbed 🎉';
CREATE TABLE legacy.t_ord (
    shop smallint NOT NULL DEFAULT 1,
    ord_no bigint(20) unsigned zerofill NOT NULL,
    cust_no int unsigned NOT NULL,
    ord_stat enum('N', 'P', 'it''s', 'späť') NOT NULL DEFAULT 'N',
    opts set('a', 'b') DEFAULT 'a,b',
    cd char(8) NOT NULL DEFAULT '',
    tot decimal(10,2) unsigned DEFAULT 0.00,
    gross decimal(12,4) GENERATED ALWAYS AS (tot * 1.2) STORED,
    label varchar(40) GENERATED ALWAYS AS (concat(cd, ': # ', shop)) VIRTUAL,
    flag tinyint(1) DEFAULT 0,
    plc_dt datetime(6),
    upd_ts timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    shp_dt date DEFAULT '1900-01-01',
    yr year,
    one bit(1) DEFAULT b'1',
    eight bit(8),
    doc json,
    raw longblob,
    ratio double,
    note text DEFAULT NULL,
    PRIMARY KEY (ord_no, shop),
    FOREIGN KEY (cust_no) REFERENCES legacy.t_cust (cust_no) ON DELETE RESTRICT
);
CREATE TABLE `Old Stock`.`Größe des Lagers` (
    `Nr.` int NOT NULL,
    `yes` varchar(10) NOT NULL DEFAULT 'it''s: # no',
    ord_no bigint(20) unsigned,
    shop smallint,
    CONSTRAINT same_name FOREIGN KEY (ord_no, shop) REFERENCES legacy.t_ord (ord_no, shop) ON DELETE CASCADE
);
CREATE TABLE legacy.hidden (id int PRIMARY KEY, a int) WITH SYSTEM VERSIONING;
CREATE VIEW legacy.v_ord AS SELECT ord_no FROM legacy.t_ord;
CREATE SEQUENCE legacy.numbers;
CREATE USER reader@'%' IDENTIFIED BY 'open sesame';
GRANT SELECT ON legacy.* TO reader@'%';
