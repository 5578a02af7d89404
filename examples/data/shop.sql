-- The tea shop's orders. Amounts in euro cents; `delivered` is NULL while a parcel is on its way.
BEGIN;
CREATE TABLE orders (
    id TEXT PRIMARY KEY,
    customer TEXT NOT NULL,
    delivered TEXT,
    shipping_cents INTEGER NOT NULL,
    refunded_cents INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE items (order_id TEXT NOT NULL REFERENCES orders (id), name TEXT NOT NULL, cents INTEGER NOT NULL);

INSERT INTO orders (id, customer, delivered, shipping_cents, refunded_cents) VALUES
    ('K-09871', 'm.okafor@example.com',      '2026-09-02', 490, 0),
    ('K-10166', 'liu.wei@example.net',       '2026-11-02', 490, 0),
    ('K-10198', 'sofia.rossi@example.org',   '2026-11-03',   0, 0),
    ('K-10205', 'pat.doyle@example.com',     '2026-10-28', 490, 3980),
    ('K-10231', 'anna.berger@example.org',   '2026-11-10', 490, 0),
    ('K-10244', 'joerg.mueller@example.de',  '2026-11-09', 490, 0),
    ('K-10250', 'h.nakamura@example.jp',     '2026-11-06', 990, 0),
    ('K-10257', 'c.dubois@example.fr',       '2026-11-07', 490, 0),
    ('K-10260', 'priya.nair@example.in',     '2026-11-12', 990, 0),
    ('K-10263', 'r00t@example.net',          '2026-11-11', 490, 0),
    ('K-10270', 'olga.petrova@example.org',  NULL,         490, 0),
    ('K-10281', 'tom.walsh@example.ie',      '2026-11-13',   0, 0);

INSERT INTO items (order_id, name, cents) VALUES
    ('K-09871', 'Tray, bamboo',          2990),
    ('K-10166', 'Caddy, cherry bark',    5600),
    ('K-10198', 'Whisk, 100 prongs',     1950),
    ('K-10205', 'Mug, celadon',          3490),
    ('K-10231', 'Teapot, cast iron',     4890),
    ('K-10244', 'Kanne "Nebel"',         5450),
    ('K-10244', 'Tasse "Nebel"',         1650),
    ('K-10250', 'Kettle, gooseneck',     8900),
    ('K-10250', 'Scale, 0.1 g',          3450),
    ('K-10257', 'Infuser, steel',         890),
    ('K-10260', 'Sencha, 200 g',         2640),
    ('K-10260', 'Gyokuro, 200 g',        3640),
    ('K-10263', 'Strainer, bamboo',      1290),
    ('K-10270', 'Bowl, raku',            7200),
    ('K-10281', 'Warmer, glass',         2150),
    ('K-10281', 'Tray, walnut',          3900),
    ('K-10281', 'Glass, double-walled',  1480);
COMMIT;
