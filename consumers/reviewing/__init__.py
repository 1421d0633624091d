"""Reviews: what a change of schemas means, by the schemas and by what is stored on the log.

- sides      the folder at the base and the candidate's; which types changed. `opening` has both
             out of git
- promises   what `subjects.toml` says otherwise than at the base
- sites      what can happen to a record that is read anew, and where
- watch      one writer's records read under today's schema and the candidate's at once: code made
             from the three schemas, which stops only where something can happen; `watch_text`,
             `watch_leaves`, `watch_telling` and `watch_parts` make it, of `record_fields`, `leaves`
             and `raw_values`
- readings   how a writer's records are judged: by a watch, or decoded twice
- evidence   what became of stored records, per writer's version and field
- envelopes  the fields before the payload, where `envelope.avsc` is what changed
- observing, looking, gathering       the evidence of one writer's records; of a range; of a history
             or a sample, in several processes
- versions   each version of a type, under the candidate and on the log
- verdict    deployment order, rollback, upcasters
- blocking   what stands against merging, and what is waived
- folding, groups       projections under both readers; who has read the topics
- review, reviewing     one type with all that there is to say of it; a whole review
- sections, beside, cells       a review in words; verdict and evidence side by side; of what both
             are made. `markdown` and `page` show them, `document` is for machines
"""
