-- holdfast store, schema 4: where the store stands, and since when a blob is there.

ALTER TABLE store ADD COLUMN place TEXT;     -- where this file was last used as its own; NULL: nobody has said yet
ALTER TABLE store ADD COLUMN moved_to TEXT;  -- its runs go on in that store: nothing is written here any more

ALTER TABLE blobs ADD COLUMN put_at REAL;    -- when it was begun; NULL: before schema 4
