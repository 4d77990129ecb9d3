-- The order system's schema, as it grew: short names, codes, padded CHAR, one table for orders and quotes.

CREATE TABLE t_cust (
    cust_no   integer      PRIMARY KEY,
    cust_nm   varchar(80)  NOT NULL,
    email     varchar(120) NOT NULL,
    cust_tier char(1)      NOT NULL DEFAULT 'S',   -- S standard, G gold; never changes
    upd_ts    timestamptz  NOT NULL DEFAULT now()
);

CREATE TABLE t_ord (
    ord_no    bigint       PRIMARY KEY,
    rec_typ   char(1)      NOT NULL DEFAULT 'O',   -- O order, Q quote
    ord_stat  char(1)      NOT NULL DEFAULT 'N',   -- N new, P placed, B paid ("bezahlt"), S shipped, X cancelled
    tot_cents bigint       NOT NULL DEFAULT 0,
    cur       char(4)      NOT NULL DEFAULT 'EUR',
    cust_no   integer      NOT NULL REFERENCES t_cust,
    plc_dt    timestamp,
    rmk       varchar(200),
    upd_ts    timestamptz  NOT NULL DEFAULT now()
);

CREATE TABLE t_ord_line (
    ord_no    bigint       NOT NULL REFERENCES t_ord,
    line_no   integer      NOT NULL,
    itm_cd    char(8)      NOT NULL,
    qty       integer      NOT NULL,
    prc_cents integer      NOT NULL,
    PRIMARY KEY (ord_no, line_no)
);

CREATE TABLE t_pay (
    pay_no    bigint       PRIMARY KEY,
    ord_no    bigint       NOT NULL UNIQUE REFERENCES t_ord,
    st        char(1)      NOT NULL DEFAULT 'I',   -- I initiated, A authorised, C captured
    amt_cents bigint       NOT NULL,
    upd_ts    timestamptz  NOT NULL DEFAULT now()
);

-- Complaints: the oldest screen of all. It commits after each statement.
CREATE TABLE t_cmpl (
    cmpl_no   bigint       PRIMARY KEY,
    ord_no    bigint       NOT NULL,
    st        char(1)      NOT NULL DEFAULT 'E',   -- E being entered, R registered
    upd_ts    timestamptz  NOT NULL DEFAULT now()
);

CREATE TABLE t_cmpl_line (
    cmpl_no   bigint       NOT NULL,
    line_no   integer      NOT NULL,
    itm_cd    char(8)      NOT NULL,
    qty       integer      NOT NULL,
    PRIMARY KEY (cmpl_no, line_no)
);

-- Nobody outside reads it, and it is not captured.
CREATE TABLE t_audit (
    aud_no    bigint       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    txt       text         NOT NULL,
    ins_ts    timestamptz  NOT NULL DEFAULT now()
);

-- Debezium's own: signals, and the heartbeat that keeps an idle database ticking.
CREATE TABLE IF NOT EXISTS debezium_signal (
    id        varchar(64)  PRIMARY KEY,
    type      varchar(32)  NOT NULL,
    data      varchar(2048)
);
CREATE TABLE IF NOT EXISTS debezium_heartbeat (
    id        integer      PRIMARY KEY,
    beat      timestamptz  NOT NULL
);

-- What was there before anyone listened.
INSERT INTO t_cust (cust_no, cust_nm, email, cust_tier)
SELECT n, 'Customer ' || n, 'customer' || n || '@example.com', CASE WHEN n % 5 = 0 THEN 'G' ELSE 'S' END
FROM generate_series(1, 50) n;

-- An old complaint.
INSERT INTO t_cmpl (cmpl_no, ord_no, st) VALUES (1, 3, 'R');
INSERT INTO t_cmpl_line (cmpl_no, line_no, itm_cd, qty) VALUES (1, 1, 'OLD-1', 1);

-- 24 old orders, six in each of four states, with two lines each.
INSERT INTO t_ord (ord_no, rec_typ, ord_stat, tot_cents, cur, cust_no, plc_dt)
SELECT n, 'O', substr('NPBS', 1 + n % 4, 1), 2 * 1000 + 250, 'EUR', 1 + n % 50, timestamp '2020-01-01' + n * interval '1 day'
FROM generate_series(1, 24) n;
INSERT INTO t_ord_line (ord_no, line_no, itm_cd, qty, prc_cents)
SELECT n, 1, 'OLD-1', 2, 1000 FROM generate_series(1, 24) n
UNION ALL SELECT n, 2, 'OLD-2', 1, 250 FROM generate_series(1, 24) n;
INSERT INTO t_pay (pay_no, ord_no, st, amt_cents)
SELECT n, n, CASE WHEN n % 4 = 1 THEN 'A' ELSE 'C' END, 2250 FROM generate_series(1, 24) n WHERE n % 4 <> 0;
