%% Prints one line for each thing that a state machine sees or does: what Erlang/OTP does. statem_oracle.rs prints the same
%% for engset. The machines are those of OTP's design principles (push button, code lock), a door, and one that follows
%% a script that is made up by chance.
-module(statem).
-behaviour(gen_statem).
-export([main/1, init/1, callback_mode/0, handle_event/4, terminate/3]).

main(Scripts) ->
    button(), lock(), postponing_lock(), buttons_lock(), complex_lock(), door(), stops(),
    {ok, All} = file:consult(Scripts),
    lists:foldl(fun(Script, Number) -> script(Script, Number), Number + 1 end, 0, All),
    io:format("~s", [lists:join("\n", lists:reverse(get(lines)))]),
    halt(0).

line(Name, Value) ->
    Old = case get(lines) of undefined -> []; Lines -> Lines end,
    put(lines, [io_lib:format("~s: ~s", [Name, Value]) | Old]).

start(Name, Machine) ->
    put(name, Name),
    {ok, Pid} = gen_statem:start(?MODULE, Machine#{tester => self()}, []),
    put(machine, Pid),
    Pid.

%% Takes over what the machine says until it says this.
until(Last) ->
    Machine = get(machine),
    receive
        {Machine, Last} -> line(get(name), Last);
        {Machine, Text} -> line(get(name), Text), until(Last)
    after 20000 ->
        io:format(standard_error, "~s never says ~s~n", [get(name), Last]),
        halt(1)
    end.

text(Format, Arguments) -> lists:flatten(io_lib:format(Format, Arguments)).

say(#{tester := Tester}, Format, Arguments) -> Tester ! {self(), text(Format, Arguments)}.

%% All in one message, which the machine takes apart: no timeout can come in between.
burst(Pid, Messages) -> gen_statem:cast(Pid, {all, Messages}).

cast(Pid, Messages) -> [gen_statem:cast(Pid, Message) || Message <- Messages].

answer(Pid, Request) -> line(get(name), text("answer ~w", [gen_statem:call(Pid, Request)])).

button() ->
    Pid = start("button", #{kind => button, count => 0}),
    [answer(Pid, Request) || Request <- [push, count, push, count, push, count]],
    gen_statem:stop(Pid),
    until("terminate normal in on").

lock() ->
    Pid = start("lock", #{kind => lock, code => [1, 2, 3], typed => [], left => [1, 2, 3]}),
    until("locked"),
    cast(Pid, [1, 3, 3, 1, 2, 3]),
    until("open"),
    answer(Pid, length),
    until("locked"),
    cast(Pid, [1, 2, 3]),
    until("open"),
    answer(Pid, length),
    until("locked").

postponing_lock() ->
    Pid = start("postponing_lock", #{kind => postponing_lock, code => [1, 2], left => [1, 2]}),
    until("locked"),
    burst(Pid, [1, 2, 7, 1, 2]),
    until("open"), until("locked"),
    until("open"), until("locked"),
    burst(Pid, [9, idle, 1]),
    until("forgotten"),
    burst(Pid, [2, 1, 2]),
    until("open").

buttons_lock() ->
    Pid = start("buttons_lock", #{kind => buttons_lock, code => [1, 2], typed => []}),
    cast(Pid, [{down, 1}, {up, 1}, {up, 2}, {down, 2}, {down, 3}, {up, 2}]),
    until("again").

complex_lock() ->
    Pid = start("complex_lock", #{kind => complex_lock, code => [1, 2], typed => []}),
    until("enter locked 9 from locked 9"),
    cast(Pid, [1]),
    answer(Pid, {lock_button, 8}),
    cast(Pid, [1, 2, 5, 8, 1, 2]),
    answer(Pid, {lock_button, 7}),
    answer(Pid, {lock_button, 7}),
    cast(Pid, [8, 7]),
    until("enter locked 7 from open 7").

door() ->
    Pid = start("door", #{kind => door}),
    until("enter closed from closed"),
    burst(Pid, [open]),
    until("enter closed from open"),
    burst(Pid, [open, hold, guest, release]),
    until("alarm guest"),
    until("enter closed from open"),
    burst(Pid, [open, silence]),
    until("enter closed from open").

stops() ->
    Pid = start("stops", #{kind => stops}),
    answer(Pid, stop_and_reply),
    until("terminate bye in start"),
    Entering = start("stops", #{kind => stops}),
    cast(Entering, [enter_and_stop]),
    until("terminate entered in last").

script({Messages, Init, Decisions, Enters}, Number) ->
    Pid = start(text("script ~w", [Number]),
                #{kind => script, init => Init, decisions => {Decisions, Decisions}, enters => {Enters, Enters},
                  left => 150, fresh => 1000}),
    cast(Pid, Messages ++ [stop]),
    until("end").

callback_mode() -> [handle_event_function, state_enter].

init(#{kind := button} = Data) -> {ok, off, Data};
init(#{kind := complex_lock} = Data) -> {ok, {locked, 9}, Data};
init(#{kind := door} = Data) -> {ok, closed, Data};
init(#{kind := stops} = Data) -> {ok, start, Data};
init(#{kind := script, init := {Insert, Timings}} = Data) ->
    {Events, NewData} = fresh(Insert, Data),
    {ok, 0, NewData, Events ++ timings(Timings)};
init(Data) -> {ok, locked, Data}.

handle_event(cast, {all, Messages}, _, _) ->
    {keep_state_and_data, [{next_event, internal, Message} || Message <- Messages]};
handle_event(Type, Content, State, #{kind := Kind} = Data) ->
    case Kind of
        button -> button(Type, Content, State, Data);
        lock -> lock(Type, Content, State, Data);
        postponing_lock -> postponing_lock(Type, Content, State, Data);
        buttons_lock -> buttons_lock(Type, Content, State, Data);
        complex_lock -> complex_lock(Type, Content, State, Data);
        door -> door(Type, Content, State, Data);
        stops -> stops(Type, Content, State, Data);
        script -> script(Type, Content, State, Data)
    end.

terminate(Reason, State, #{kind := Kind} = Data) when Kind =:= button; Kind =:= stops ->
    say(Data, "terminate ~w in ~w", [Reason, State]);
terminate(_, _, _) -> ok.

button(enter, _, _, _) -> keep_state_and_data;
button({call, From}, push, off, #{count := Count} = Data) ->
    {next_state, on, Data#{count := Count + 1}, [{reply, From, on}]};
button({call, From}, push, on, Data) ->
    {next_state, off, Data, [{reply, From, off}]};
button({call, From}, count, _, #{count := Count}) ->
    {keep_state_and_data, [{reply, From, Count}]}.

%% The first one of the design principles: a wrong digit starts again.
lock(enter, _, locked, #{code := Code} = Data) ->
    say(Data, "locked", []),
    {keep_state, Data#{left := Code}};
lock(enter, _, open, Data) ->
    say(Data, "open", []),
    {keep_state_and_data, [{state_timeout, 30, lock}]};
lock(cast, Digit, locked, #{left := [Digit]} = Data) -> {next_state, open, Data};
lock(cast, Digit, locked, #{left := [Digit | Rest]} = Data) -> {keep_state, Data#{left := Rest}};
lock(cast, _, locked, #{code := Code} = Data) ->
    say(Data, "wrong", []),
    {keep_state, Data#{left := Code}};
lock(cast, _, open, _) -> keep_state_and_data;
lock(state_timeout, lock, open, Data) -> {next_state, locked, Data};
lock({call, From}, length, _, #{code := Code}) ->
    {keep_state_and_data, [{reply, From, length(Code)}]}.

%% Postpones what comes while it is open; in `locked`, an event timeout forgets what was typed.
postponing_lock(enter, _, State, #{code := Code} = Data) ->
    say(Data, "~w", [State]),
    case State of
        locked -> {keep_state, Data#{left := Code}};
        open -> {keep_state_and_data, [{{timeout, lock}, 20, now}]}
    end;
postponing_lock({timeout, lock}, now, open, Data) -> {next_state, locked, Data};
postponing_lock(internal, _, open, Data) ->
    say(Data, "postponed", []),
    {keep_state_and_data, [postpone]};
postponing_lock(timeout, forget, locked, #{code := Code} = Data) ->
    say(Data, "forgotten", []),
    {keep_state, Data#{left := Code}};
postponing_lock(internal, idle, locked, Data) ->
    say(Data, "idle", []),
    {keep_state_and_data, [{timeout, 20, forget}]};
postponing_lock(internal, Digit, locked, #{left := [Digit]} = Data) -> {next_state, open, Data};
postponing_lock(internal, Digit, locked, #{left := [Digit | Rest]} = Data) ->
    say(Data, "right", []),
    {keep_state, Data#{left := Rest}, [{timeout, 20, forget}]};
postponing_lock(internal, _, locked, #{code := Code} = Data) ->
    say(Data, "wrong", []),
    {keep_state, Data#{left := Code}}.

%% A button is pressed when what went down comes up: an event that it tells itself.
buttons_lock(enter, _, open, Data) -> say(Data, "open", []), keep_state_and_data;
buttons_lock(enter, _, _, _) -> keep_state_and_data;
buttons_lock(cast, {down, Digit}, _, Data) -> {keep_state, Data#{down => Digit}};
buttons_lock(cast, {up, Digit}, _, #{down := Digit} = Data) ->
    {keep_state, maps:remove(down, Data), [{next_event, internal, {button, Digit}}]};
buttons_lock(cast, {up, Digit}, _, #{down := _} = Data) ->
    say(Data, "lifted ~w", [Digit]),
    {keep_state, maps:remove(down, Data), [{next_event, internal, {button, Digit}}, {next_event, internal, again}]};
buttons_lock(cast, {up, Digit}, _, Data) -> say(Data, "ignored ~w", [Digit]), keep_state_and_data;
buttons_lock(internal, again, _, Data) -> say(Data, "again", []), keep_state_and_data;
buttons_lock(internal, {button, Digit}, locked, #{typed := Typed, code := Code} = Data) ->
    say(Data, "button ~w", [Digit]),
    case Typed ++ [Digit] of
        Code -> {next_state, open, Data};
        Now -> {keep_state, Data#{typed := Now}}
    end;
buttons_lock(internal, _, _, _) -> keep_state_and_data.

%% The state has a value in it: the button that locks.
complex_lock(enter, {Former, A}, {State, B}, Data) ->
    say(Data, "enter ~w ~w from ~w ~w", [State, B, Former, A]),
    {keep_state, Data#{typed := []}};
complex_lock({call, From}, {lock_button, New}, {State, Old}, Data) ->
    {next_state, {State, New}, Data, [{reply, From, Old}]};
complex_lock(cast, Digit, {locked, Button}, #{typed := Typed, code := Code} = Data) ->
    Now = Typed ++ [Digit],
    case lists:suffix(Code, Now) of
        true -> {next_state, {open, Button}, Data};
        false -> {keep_state, Data#{typed := Now}}
    end;
complex_lock(cast, Button, {open, Button}, Data) -> {next_state, {locked, Button}, Data};
complex_lock(cast, Digit, {open, _}, Data) ->
    say(Data, "postponed ~w", [Digit]),
    {keep_state_and_data, [postpone]}.

%% Timeouts with names, that are updated and cancelled.
door(enter, Former, State, Data) ->
    say(Data, "enter ~w from ~w", [State, Former]),
    case State of
        open -> {keep_state_and_data, [{state_timeout, 40, close}, {{timeout, alarm}, 20, nobody}]};
        closed -> {keep_state_and_data, [{{timeout, alarm}, cancel}]}
    end;
door(internal, open, closed, Data) -> {next_state, open, Data};
door(internal, hold, open, Data) ->
    say(Data, "held", []),
    {keep_state_and_data, [{state_timeout, cancel}]};
door(internal, guest, open, _) -> {keep_state_and_data, [{{timeout, alarm}, update, guest}]};
door(internal, silence, open, Data) ->
    say(Data, "silent", []),
    {keep_state_and_data, [{{timeout, alarm}, cancel}]};
door(internal, release, open, _) -> {keep_state_and_data, [{state_timeout, 60, close}]};
door({timeout, alarm}, Who, open, Data) -> say(Data, "alarm ~w", [Who]), keep_state_and_data;
door(state_timeout, close, open, Data) -> {next_state, closed, Data}.

stops(enter, _, last, Data) -> {stop, entered, Data};
stops(enter, _, _, _) -> keep_state_and_data;
stops({call, From}, stop_and_reply, _, _) -> {stop_and_reply, bye, [{reply, From, yes}]};
stops(cast, enter_and_stop, _, Data) -> {next_state, last, Data}.

script(enter, Former, State, #{enters := Enters} = Data) ->
    say(Data, "enter ~w from ~w", [State, Former]),
    {{Repeat, Timings}, NewEnters} = take(Enters),
    NewData = Data#{enters := NewEnters},
    case Repeat of
        true -> {repeat_state, NewData, timings(Timings)};
        false -> {keep_state, NewData, timings(Timings)}
    end;
script(cast, stop, _, Data) -> say(Data, "end", []), stop;
script(_, _, _, #{left := 0} = Data) -> say(Data, "end", []), stop;
script(Type, Content, State, #{decisions := Decisions, left := Left} = Data) ->
    Name = case Type of
        cast -> "message";
        {timeout, Number} -> text("timeout ~w", [Number]);
        Other -> atom_to_list(Other)
    end,
    say(Data, "~s ~w in ~w", [Name, Content, State]),
    {{Postpone, Next, Insert, Timings}, NewDecisions} = take(Decisions),
    {Events, NewData} = fresh(Insert, Data#{decisions := NewDecisions, left := Left - 1}),
    Actions = [postpone || Postpone] ++ Events ++ timings(Timings),
    case Next of
        keep -> {keep_state, NewData, Actions};
        repeat -> {repeat_state, NewData, Actions};
        _ -> {next_state, Next, NewData, Actions}
    end.

take({[], All}) -> take({All, All});
take({[First | Rest], All}) -> {First, {Rest, All}}.

fresh(Count, #{fresh := Fresh} = Data) ->
    {[{next_event, internal, Number} || Number <- lists:seq(Fresh, Fresh + Count - 1)], Data#{fresh := Fresh + Count}}.

timings(Timings) -> [timing(Timing) || Timing <- Timings].

timing({zero, Kind, Content}) -> {kind(Kind), 0, Content};
timing({long, Kind, Content}) -> {kind(Kind), 3600000, Content};
timing({infinity, Kind, Content}) -> {kind(Kind), infinity, Content};
timing({update, Kind, Content}) -> {kind(Kind), update, Content};
timing({cancel, Kind, _}) -> {kind(Kind), cancel}.

kind(state) -> state_timeout;
kind(event) -> timeout;
kind(Number) -> {timeout, Number}.
