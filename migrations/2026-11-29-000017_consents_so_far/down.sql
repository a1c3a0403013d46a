-- What the migration before this one takes back has it all.
SELECT;
