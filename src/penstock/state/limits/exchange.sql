-- The accounts of buckets in PostgreSQL, and one exchange of a holder with them: what policy/limit/account.py says.

create table if not exists penstock_limit_bucket (
    bucket text primary key,
    seen_us bigint not null,
    ends_us bigint not null
);
create index if not exists penstock_limit_ends on penstock_limit_bucket (ends_us);

create table if not exists penstock_limit_spent (
    bucket text not null,
    slice bigint not null,
    amount bigint not null,
    primary key (bucket, slice)
);

create table if not exists penstock_limit_holding (
    bucket text not null,
    holder text not null,
    amount bigint not null,
    expires_us bigint not null,
    number bigint not null,
    primary key (bucket, holder)
);

create or replace function penstock_limit_slice_1(at_us bigint, window_us bigint, span text, slices bigint)
returns bigint language plpgsql immutable as $$
declare
    at timestamp := timestamp 'epoch' + at_us * interval '1 microsecond';
begin
    case span
        when 'month' then return (extract(year from at) * 12 + extract(month from at) - 1)::bigint;
        when 'day' then return at_us / 86400000000;
        else return at_us / greatest(1, (window_us + slices - 1) / slices);
    end case;
end $$;

-- Statements are arrays as policy/limit/statement.py orders them. Buckets are locked in the order of their ids.
create or replace function penstock_limit_exchange_1(
    clock bigint, me text, this bigint, lease bigint, forgotten bigint, slices bigint, statements jsonb
) returns table (place bigint, now_us bigint, granted bigint, used bigint, fair bigint, spent jsonb)
language plpgsql as $$
declare
    each record;
    limit_ bigint;
    window_us bigint;
    span text;
    held boolean;
    first bigint;
    last_number bigint;
    refund jsonb;
    left_ bigint;
    taken bigint;
    booked record;
    room bigint;
    keepers bigint;
    need bigint;
begin
    for each in
        select ordinality, value -> 0 ->> 0 as id, value
        from jsonb_array_elements(statements) with ordinality
        order by (value -> 0 ->> 0) collate "C"
    loop
        limit_ := each.value -> 0 ->> 1;
        window_us := each.value -> 0 ->> 2;
        span := coalesce(each.value -> 0 ->> 3, '');
        held := window_us = 0 and span = '';
        need := each.value ->> 6;
        now_us := coalesce(clock, (extract(epoch from clock_timestamp()) * 1000000)::bigint);

        insert into penstock_limit_bucket as b values (each.id, now_us, 0)
        on conflict (bucket) do update set seen_us = greatest(b.seen_us, excluded.seen_us)
        returning seen_us into now_us;

        if held then
            delete from penstock_limit_holding h where h.bucket = each.id and expires_us <= now_us;
        else
            first := penstock_limit_slice_1(now_us - window_us, window_us, span, slices);
            for booked in
                delete from penstock_limit_holding h
                where h.bucket = each.id and expires_us <= now_us and (
                    expires_us + forgotten <= now_us
                    or penstock_limit_slice_1(expires_us, window_us, span, slices) < first
                )
                returning amount, penstock_limit_slice_1(expires_us, window_us, span, slices) as slice
            loop
                if booked.amount > 0 and booked.slice >= first then
                    insert into penstock_limit_spent as s values (each.id, booked.slice, booked.amount)
                    on conflict (bucket, slice) do update set amount = s.amount + excluded.amount;
                end if;
            end loop;
            delete from penstock_limit_spent s where s.bucket = each.id and slice < first;
        end if;

        select h.number into last_number
        from penstock_limit_holding h where h.bucket = each.id and holder = me;
        last_number := coalesce(last_number, 0);

        granted := 0;
        fair := 0;
        spent := null;
        if this > last_number then
            if (each.value ->> 4)::bigint > last_number and not held then
                if (each.value ->> 2)::bigint > 0 then
                    insert into penstock_limit_spent as s
                    values (each.id, penstock_limit_slice_1(now_us, window_us, span, slices), (each.value ->> 2)::bigint)
                    on conflict (bucket, slice) do update set amount = s.amount + excluded.amount;
                end if;
                for refund in select value from jsonb_array_elements(each.value -> 3) loop
                    left_ := refund ->> 1;
                    continue when penstock_limit_slice_1((refund ->> 0)::bigint, window_us, span, slices) < first;
                    for booked in
                        select slice, amount from penstock_limit_spent s
                        where s.bucket = each.id
                        and slice >= penstock_limit_slice_1((refund ->> 0)::bigint, window_us, span, slices)
                        order by slice
                    loop
                        taken := least(left_, booked.amount);
                        left_ := left_ - taken;
                        if taken = booked.amount then
                            delete from penstock_limit_spent s where s.bucket = each.id and slice = booked.slice;
                        else
                            update penstock_limit_spent s set amount = s.amount - taken
                            where s.bucket = each.id and slice = booked.slice;
                        end if;
                        exit when left_ = 0;
                    end loop;
                end loop;
            end if;
            insert into penstock_limit_holding as h values (each.id, me, (each.value ->> 1)::bigint, now_us + lease, this)
            on conflict (bucket, holder) do update
            set amount = excluded.amount, expires_us = excluded.expires_us, number = excluded.number;
        end if;

        select coalesce(sum(h.amount), 0), 2 * count(*) filter (where expires_us > now_us) into used, keepers
        from penstock_limit_holding h where h.bucket = each.id;
        used := used + coalesce((select sum(s.amount) from penstock_limit_spent s where s.bucket = each.id), 0);

        if this > last_number then
            room := greatest(0, limit_ - used);
            if room >= (each.value ->> 5)::bigint then
                granted := least(need, room);
            end if;
            granted := granted + least((each.value ->> 7)::bigint, (room - granted) / keepers);
            fair := (room - granted) / keepers;
            if granted > 0 then
                update penstock_limit_holding h set amount = h.amount + granted
                where h.bucket = each.id and holder = me;
            end if;
            if granted < need then
                spent := coalesce(
                    (select jsonb_object_agg(slice, s.amount) from penstock_limit_spent s where s.bucket = each.id), '{}'
                );
            end if;
        end if;
        used := used + granted;

        -- At least until nothing of it counts: a slice or a span more than the window, and what the lease dates later.
        update penstock_limit_bucket b
        set ends_us = now_us + lease + case
            when held then 0
            when span = 'month' then 31 * 86400000000
            when span = 'day' then 86400000000
            else window_us + 2 * greatest(1, (window_us + slices - 1) / slices)
        end
        where b.bucket = each.id;
        place := each.ordinality;
        return next;
    end loop;
end $$;

create or replace function penstock_limit_sweep_1() returns void language plpgsql as $$
declare
    each record;
begin
    for each in
        select bucket from penstock_limit_bucket
        where ends_us < extract(epoch from clock_timestamp()) * 1000000
        order by bucket collate "C" limit 1000 for update skip locked
    loop
        delete from penstock_limit_spent where bucket = each.bucket;
        delete from penstock_limit_holding where bucket = each.bucket;
        delete from penstock_limit_bucket where bucket = each.bucket;
    end loop;
end $$;
