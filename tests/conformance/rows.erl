%% The scenarios of tests/conformance in Erlang/OTP. Prints "ROW | LINE" for each line of a trace.
-module(rows).
-export([main/0, init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2,
         callback_mode/0, handle_event/4, deaf/1, slow/0]).

-define(QUIET, 40).

main() ->
    [play(Row, Run) || {Row, Run} <- [
        {"S1", fun s1/0}, {"S2", fun s2/0}, {"S2 busy", fun s2_busy/0}, {"S2 names", fun s2_names/0}, {"S3", fun s3/0},
        {"S4", fun s4/0}, {"S4 crossing", fun s4_crossing/0}, {"S5", fun s5/0}, {"S6", fun s6/0}, {"S7", fun s7/0}, {"S8", fun s8/0}, {"S9", fun s9/0},
        {"S10", fun s10/0}, {"S12", fun s12/0}, {"S13", fun s13/0}, {"B1", fun b1/0}, {"B2", fun b2/0},
        {"B3", fun b3/0}, {"B4", fun b4/0}, {"B4 dynamic", fun b4_dynamic/0}, {"B5", fun b5/0}, {"B6", fun b6/0},
        {"B8", fun b8/0}, {"B9", fun b9/0}, {"B10", fun b10/0}]],
    halt(0).

%% Each in a process of its own.
play(Row, Run) ->
    {_, Ref} = spawn_monitor(fun() -> put(row, Row), Run() end),
    receive
        {'DOWN', Ref, _, _, normal} -> ok;
        {'DOWN', Ref, _, _, Reason} -> io:format("~s | it crashed: ~0p~n", [Row, Reason])
    after 60000 -> io:format("~s | it hangs~n", [Row])
    end.

line(Format, Arguments) -> io:format("~s | ~s~n", [get(row), lists:flatten(io_lib:format(Format, Arguments))]).

name(R) when is_atom(R) -> atom_to_list(R);
name({{nocatch, R}, _}) -> name(R);
name({R, Stack}) when is_atom(R), is_list(Stack) -> "crash " ++ atom_to_list(R);
name(R) -> lists:flatten(io_lib:format("~0p", [R])).

show({'EXIT', _, R}) -> "exit " ++ name(R);
show({'DOWN', _, _, _, R}) -> "down " ++ name(R);
show({text, T}) -> T;
show({number, N}) -> integer_to_list(N);
show(Other) -> name(Other).

next() -> receive M -> show(M) after 20000 -> "silence" end.

drain() ->
    case drain_list() of [] -> "nothing"; L -> string:join(L, ", ") end.
drain_list() -> receive M -> [show(M) | drain_list()] after ?QUIET -> [] end.

down(Ref) -> receive {'DOWN', Ref, _, _, R} -> "down " ++ name(R) after 20000 -> "silence" end.

sleeper() -> spawn(fun() -> receive never -> ok end end).
dead() -> {P, R} = spawn_monitor(fun() -> ok end), down(R), P.

s1() ->
    Me = self(),
    [begin
         process_flag(trap_exit, How =:= exit),
         P = spawn(fun() -> receive go -> ok end, [Me ! {number, N} || N <- lists:seq(0, 199)], exit(Reason) end),
         case How of exit -> link(P); down -> monitor(process, P) end,
         P ! go,
         {Count, End} = count(0),
         line("~b in order, then ~s", [Count, End])
     end || {How, Reason} <- [{down, normal}, {exit, boom}]].

count(N) -> receive {number, N} -> count(N + 1); Other -> {N, show(Other)} after 20000 -> {N, "silence"} end.

s2() ->
    Deaf = sleeper(), R = monitor(process, Deaf), exit(Deaf, boom),
    line("deaf: ~s", [down(R)]).

s2_busy() ->
    Me = self(),
    Busy = spawn(fun() -> Me ! {text, "busy"}, loop() end),
    Text = next(),
    R = monitor(process, Busy), exit(Busy, kill),
    line("~s: ~s", [Text, down(R)]).

loop() -> loop().

s2_names() ->
    Me = self(),
    P = spawn(fun() -> register(holder, self()), Me ! ready, receive never -> ok end end),
    receive ready -> ok end,
    R = monitor(process, P), exit(P, boom),
    End = down(R),
    Free = whereis(holder) =:= undefined,
    Mine = register(holder, self()),
    line("~s, the name is free: ~s, and taken: ~s", [End, Free, Mine]).

s3() ->
    [line("~s ~s, it ~s: ~s", [Origin, Reason, case Traps of true -> "traps"; false -> "does not trap" end,
                               outcome(Origin, Traps, Reason)])
     || Origin <- [link, exit, self], Traps <- [false, true], Reason <- [normal, shutdown, kill, boom]].

outcome(Origin, Traps, Reason) ->
    Me = self(),
    {P, Ref} = spawn_monitor(fun() ->
        process_flag(trap_exit, Traps),
        Me ! ready,
        case Origin of self -> exit(self(), Reason); _ -> ok end,
        Me ! {text, receive {'EXIT', _, R} -> "message " ++ name(R); mark -> "dropped" end},
        receive never -> ok end
    end),
    receive ready -> ok end,
    case Origin of
        exit -> exit(P, Reason), P ! mark;
        self -> P ! mark;
        link ->
            {_, L} = spawn_monitor(fun() -> link(P), is_process_alive(P), exit(Reason) end),
            receive {'DOWN', L, _, _, _} -> ok end,
            case {Reason, Traps} of {normal, false} -> timer:sleep(?QUIET), P ! mark; _ -> ok end
    end,
    receive
        {text, Text} -> demonitor(Ref, [flush]), exit(P, kill), Text;
        {'DOWN', Ref, _, _, R} -> "ends " ++ name(R)
    end.

s4() ->
    process_flag(trap_exit, true),
    A = sleeper(), link(A), link(A), exit(A, boom), line("linked twice: ~s", [drain()]),
    link(dead()), line("linked to the dead: ~s", [drain()]),
    B = sleeper(), link(B), unlink(B), exit(B, boom), line("unlinked: ~s", [drain()]),
    C = sleeper(), link(C), unlink(C), link(C), exit(C, boom), line("unlinked and linked again: ~s", [drain()]).

s4_crossing() ->
    process_flag(trap_exit, true),
    Me = self(),
    Agreed = [begin
        P = spawn(fun() -> Me ! ready, timer:sleep(4), link(Me), receive never -> ok end end),
        receive ready -> ok end,
        timer:sleep(Round div 2),
        link(P), unlink(P), timer:sleep(?QUIET),
        Has = fun(A, B) -> {links, L} = process_info(A, links), lists:member(B, L) end,
        Same = Has(Me, P) =:= Has(P, Me),
        exit(P, kill), drain(),
        Same
    end || Round <- lists:seq(0, 11)],
    line("agreed in ~b of 12 rounds", [length([x || true <- Agreed])]).

s5() ->
    monitor(process, dead()), line("of the dead: ~s", [drain()]),
    A = sleeper(), monitor(process, A), monitor(process, A), exit(A, boom), line("two of one: ~s", [drain()]),
    [begin
         P = sleeper(), R1 = monitor(process, P), R2 = monitor(process, P), exit(P, kill), down(R2),
         demonitor(R1, Options),
         line("~s: ~s", [When, drain()])
     end || {When, Options} <- [{"late, with flush", [flush]}, {"late, without", []}]],
    B = sleeper(), R = monitor(process, B), demonitor(R), exit(B, kill), line("early: ~s", [drain()]).

s6() ->
    dead() ! {number, 1}, line("to the dead: ~s", [drain()]),
    register(s6, self()),
    Me = self(),
    spawn(fun() -> Me ! {text, try register(s6, self()), "taken twice" catch error:badarg -> "refused" end} end),
    line("a name that is taken: ~s", [next()]).

call(P, Time) ->
    Ref = monitor(process, P, [{alias, reply_demonitor}]),
    P ! {ask, Ref},
    receive
        {Ref, Answer} -> io_lib:format("Ok(~b)", [Answer]);
        {'DOWN', Ref, _, _, R} -> name(R)
    after Time -> demonitor(Ref, [flush]), "timeout"
    end.

s7() ->
    P = spawn(fun() ->
        receive {ask, R1} -> R1 ! {R1, 42} end,
        receive {ask, R2} -> ok end,
        receive late -> R2 ! {R2, 7} end,
        receive {ask, _} -> exit(boom) end
    end),
    line("an answer: ~s", [call(P, 5000)]),
    line("none in time: ~s", [call(P, 20)]),
    P ! late,
    line("a late answer: ~s", [drain()]),
    line("it dies: ~s", [call(P, 5000)]),
    line("it is dead: ~s", [call(P, 5000)]).

s8() ->
    Me = self(),
    spawn(fun() -> [Me ! {text, T} || T <- ["a1", "b1", "a2", "b2"]], Me ! {number, 0} end),
    Wanted = [receive {text, [$b | _] = T} -> T end || _ <- [1, 2]],
    line("the wanted: ~s", [string:join(Wanted, " ")]),
    line("the rest: ~s", [string:join([next() || _ <- [1, 2, 3]], " ")]).

s9() ->
    Me = self(),
    Report = fun(Text) -> [begin Me ! {text, Text}, erlang:yield() end || _ <- [1, 2]] end,
    spawn_opt(fun() ->
        [spawn_opt(fun() -> Report(atom_to_list(Priority)) end, [{priority, Priority}]) || Priority <- [normal, high, max]]
    end, [{priority, max}]),
    line("~s", [string:join([next() || _ <- lists:seq(1, 6)], " ")]).

s10() ->
    Me = self(),
    ets:new(flag, [named_table, public]),
    Hog = spawn(fun() -> until_set(), Me ! {text, "the loop was interrupted"} end),
    spawn(fun() -> ets:insert(flag, {set}) end),
    line("~s", [next()]),
    R = monitor(process, Hog), down(R),
    line("alive when it has ended: ~s", [is_process_alive(Hog)]).

until_set() -> case ets:lookup(flag, set) of [] -> until_set(); _ -> ok end.

s12() ->
    {P, R} = spawn_monitor(fun() -> receive go -> error(broken) end end),
    P ! go,
    line("~s", [down(R)]).

s13() ->
    Start = erlang:monotonic_time(millisecond),
    [erlang:send_after(Start + N, self(), {number, N}, [{abs, true}]) || N <- [300, 100, 200]],
    line("by deadline: ~s", [string:join([next() || _ <- [1, 2, 3]], " ")]),
    line("early: ~s", [erlang:monotonic_time(millisecond) - Start < 300]),
    T = erlang:start_timer(1000000, self(), x),
    Left = fun(false, No) -> No; (_, _) -> "time left" end,
    line("cancelled: ~s", [Left(erlang:cancel_timer(T), "fired")]),
    line("again: ~s", [Left(erlang:cancel_timer(T), "gone")]),
    U = erlang:send_after(1, self(), {text, "fired"}),
    line("~s", [next()]),
    line("too late: ~s", [Left(erlang:cancel_timer(U), "gone")]),
    erlang:send_after(1, dead(), {number, 1}),
    line("to the dead: ~s", [drain()]).

%% What children say to the tester.
take(Count) -> string:join(take_list(Count), ", ").
take_list(0) -> receive {said, T} -> [T | take_list(0)] after 15 -> [] end;
take_list(N) -> receive {said, T} -> [T | take_list(N - 1)] after 5000 -> [] end.

say(Log, Format, Arguments) -> Log ! {said, lists:flatten(io_lib:format(Format, Arguments))}.

kid(Id) -> kid(Id, #{}).
kid(Id, More) ->
    maps:merge(#{id => Id, start => {gen_server, start_link, [{local, Id}, ?MODULE, {child, Id, self()}, []]}}, More).

supervisor(Flags, Kids) ->
    supervisor:start_link(?MODULE, {sup, maps:merge(#{intensity => 5, period => 1000}, Flags), Kids}).

stop(Sup) -> unlink(Sup), R = monitor(process, Sup), exit(Sup, shutdown), down(R).

b1() ->
    [line("~s: ~s", [How, case gen_server:start(?MODULE, {starter, How}, Options) of
        {ok, P} -> io_lib:format("started, and answers Ok(~b)", [gen_server:call(P, ask)]);
        {error, R} -> "error " ++ name(R)
     end]) || {How, Options} <- [{works, []}, {fails, []}, {hangs, [{timeout, 30}]}]].

b2() ->
    process_flag(trap_exit, true),
    {ok, Sup} = supervisor(#{intensity => 1}, [kid(a), kid(b)]),
    R = monitor(process, Sup),
    gen_server:cast(a, crash), line("~s", [take(4)]),
    gen_server:cast(a, crash), End = down(R),
    line("~s; the supervisor: ~s", [take(2), End]).

b3() ->
    [begin
         {ok, Sup} = supervisor(#{}, [kid(a, #{restart => Restart})]),
         gen_server:cast(a, How),
         Count = case {Restart, How} of {permanent, _} -> 3; {transient, crash} -> 3; _ -> 2 end,
         Lines = take(Count),
         stop(Sup), take(0),
         line("~s ~s: ~s", [Restart, How, Lines])
     end || Restart <- [permanent, transient, temporary], How <- [crash, normal, shutdown]].

b4() ->
    [begin
         {ok, Sup} = supervisor(#{strategy => Strategy}, [kid(a), kid(b), kid(c)]),
         Started = take(3),
         gen_server:cast(b, crash),
         Crash = take(Count),
         stop(Sup),
         line("~s: ~s; ~s; ~s", [Strategy, Started, Crash, take(3)])
     end || {Strategy, Count} <- [{one_for_one, 2}, {one_for_all, 6}, {rest_for_one, 4}]].

slow() -> {ok, spawn_link(fun() -> process_flag(trap_exit, true), receive never -> ok end end)}.

b4_dynamic() ->
    {ok, Sup} = supervisor(#{strategy => simple_one_for_one}, [#{id => slow, start => {?MODULE, slow, []}, shutdown => 200}]),
    [{ok, _} = supervisor:start_child(Sup, []) || _ <- [1, 2, 3]],
    timer:sleep(5),
    Start = erlang:monotonic_time(millisecond),
    End = stop(Sup),
    line("~s, not before their time: ~s, ~s", [End, erlang:monotonic_time(millisecond) - Start >= 200, take(0)]).

deaf(Id) ->
    {ok, spawn_link(fun() -> process_flag(trap_exit, true), register(Id, self()), receive never -> ok end end)}.

b5() ->
    [begin
         Start = case How of "asked" -> maps:get(start, kid(a)); _ -> {?MODULE, deaf, [a]} end,
         {ok, Sup} = supervisor(#{}, [#{id => a, start => Start, shutdown => Shutdown}]),
         timer:sleep(5),
         P = whereis(a), R = monitor(process, P),
         ok = supervisor:terminate_child(Sup, a),
         End = down(R),
         stop(Sup), take(0),
         line("~s: true, ~s", [How, End])
     end || {How, Shutdown} <- [{"after a time", 30}, {"brutal kill", brutal_kill}, {"asked", 20000}]].

b6() ->
    process_flag(trap_exit, true),
    {ok, Sup} = supervisor(#{auto_shutdown => any_significant}, [kid(a), kid(b, #{restart => transient, significant => true})]),
    R = monitor(process, Sup),
    gen_server:cast(b, normal),
    End = down(R),
    line("~s; the supervisor: ~s", [take(4), End]),
    Refused = supervisor(#{auto_shutdown => any_significant}, [kid(a, #{significant => true})]),
    line("permanent and significant: ~s", [case Refused of {error, _} -> "refused"; _ -> "started" end]).

b8() ->
    {ok, P} = gen_server:start(?MODULE, {server, self()}, []),
    gen_server:cast(P, cast), gen_server:cast(P, continue),
    A = gen_server:call(P, call), B = gen_server:call(P, later),
    exit(P, hello), gen_server:cast(P, idle),
    line("~s", [take(11)]),
    line("answers ~b ~b", [A, B]),
    R = monitor(process, P), gen_server:cast(P, stop), End = down(R),
    line("~s; ~s", [take(2), End]),
    line("a call to the dead: ~s", [try gen_server:call(P, call), "an answer" catch exit:_ -> "error" end]).

b9() ->
    {ok, P} = gen_statem:start(?MODULE, {machine, self()}, []),
    [gen_statem:cast(P, {knock, N}) || N <- [1, 2, 3]],
    gen_statem:cast(P, close), gen_statem:cast(P, open),
    line("~s", [take(10)]).

b10() ->
    {ok, P} = gen_server:start(?MODULE, {sum, 1, self()}, []),
    gen_server:cast(P, 1),
    State = fun() -> {sum, N, _} = sys:get_state(P), io_lib:format("Ok(~b)", [N]) end,
    line("state ~s", [State()]),
    sys:suspend(P),
    gen_server:cast(P, 10),
    Suspended = take(1),
    line("suspended: ~s, state ~s", [Suspended, State()]),
    sys:replace_state(P, fun({sum, N, Log}) -> {sum, N + 100, Log} end),
    sys:resume(P),
    line("resumed: ~s", [take(1)]).

%% Callbacks of all behaviours; the argument says which.
init({sup, Flags, Kids}) -> {ok, {Flags, Kids}};
init({child, Id, Log}) -> process_flag(trap_exit, true), say(Log, "~s starts", [Id]), {ok, {child, Id, Log}};
init({starter, fails}) -> {stop, boom};
init({starter, hangs}) -> timer:sleep(1000000), {ok, x};
init({starter, works}) -> {ok, starter};
init({server, Log}) -> process_flag(trap_exit, true), say(Log, "init", []), {ok, {server, Log, none}, {continue, x}};
init({machine, Log}) -> {ok, closed, Log};
init({sum, N, Log}) -> {ok, {sum, N, Log}}.

handle_continue(x, {server, Log, From}) ->
    say(Log, "continue", []),
    case From of none -> ok; _ -> gen_server:reply(From, 2) end,
    {noreply, {server, Log, none}}.

handle_call(call, _, {server, Log, _} = S) -> say(Log, "call", []), {reply, 1, S};
handle_call(later, From, {server, Log, _}) -> say(Log, "later", []), {noreply, {server, Log, From}, {continue, x}};
handle_call(ask, _, S) -> {reply, 1, S}.

handle_cast(N, {sum, Sum, Log}) -> say(Log, "~b", [Sum + N]), {noreply, {sum, Sum + N, Log}};
handle_cast(cast, {server, Log, _} = S) -> say(Log, "cast", []), {noreply, S};
handle_cast(continue, {server, Log, _} = S) -> say(Log, "again", []), {noreply, S, {continue, x}};
handle_cast(idle, {server, Log, _} = S) -> say(Log, "idle", []), {noreply, S, 10};
handle_cast(stop, {server, Log, _} = S) -> say(Log, "stop", []), {stop, normal, S};
handle_cast(Reason, {child, _, _} = S) -> {stop, Reason, S}.

handle_info(timeout, {server, Log, _} = S) -> say(Log, "timeout", []), {noreply, S};
handle_info({'EXIT', _, _}, {server, Log, _} = S) -> say(Log, "info", []), {noreply, S};
handle_info(_, S) -> {noreply, S}.

terminate(Reason, {child, Id, Log}) -> say(Log, "~s ends: ~s", [Id, Reason]);
terminate(Reason, {server, Log, _}) -> say(Log, "terminate ~s", [Reason]);
terminate(_, _) -> ok.

callback_mode() -> [handle_event_function, state_enter].

handle_event(enter, _, State, Log) -> say(Log, "enter ~s", [State]), keep_state_and_data;
handle_event(cast, {knock, _}, closed, _) -> {keep_state_and_data, postpone};
handle_event(cast, close, closed, _) -> {keep_state_and_data, postpone};
handle_event(cast, open, closed, Log) ->
    say(Log, "open", []),
    {next_state, open, Log, [{next_event, internal, first}, {state_timeout, 1000000, never}, {{timeout, named}, 10, named}]};
handle_event(cast, close, open, Log) -> say(Log, "close", []), {next_state, closed, Log};
handle_event(cast, {knock, N}, _, Log) -> say(Log, "knock ~b", [N]), keep_state_and_data;
handle_event(_, Text, _, Log) -> say(Log, "~s", [Text]), keep_state_and_data.

