"""Reviews: what a change of schemas means, by the schemas and by what is stored on the log.

- sides      the folder at the base and the candidate's; which types changed
- watch      one writer's records read under today's schema and the candidate's at once: code made
             from the three schemas, which stops only where something can happen
- readings   what is told of one record, whether by such code or by decoding it twice
- evidence   what became of stored records, per writer version and field
- gathering  the evidence of a history up to a cut, or of a sample, in several processes
- verdict    modes, deployment order, rollback, upcasters: what may be merged, and what may not
- review     all of it in one document
- texts, page    the document for people
"""
