-- A credential has a label, by which people recognize it in a list.

-- In two statements: Citus adds no column together with its constraint.
alter table credentials add column label text;
alter table credentials add constraint credentials_label_check check (char_length(label) between 1 and 100);
