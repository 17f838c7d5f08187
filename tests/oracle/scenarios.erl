%% Prints one line for each scenario: what Erlang/OTP does. tests/erlang_oracle.rs prints the same for engset.
-module(scenarios).
-export([main/0]).

main() ->
    process_flag(trap_exit, false),
    order(), order_exit(), table(), links(), monitors(),
    halt(0).

line(Name, Value) -> io:format("~s: ~s~n", [Name, Value]).

name(R) when is_atom(R) -> atom_to_list(R).

%% S1
order() ->
    Me = self(),
    {_, Ref} = spawn_monitor(fun() -> [Me ! {n, N} || N <- lists:seq(1, 2000)] end),
    line("order_down", integer_to_list(before({'DOWN', Ref}, 0))).

before({Tag, Ref} = What, Count) ->
    receive
        {n, _} -> before(What, Count + 1);
        {Tag, Ref, _, _, _} -> Count;
        {Tag, Ref, _} -> Count
    end.

order_exit() ->
    process_flag(trap_exit, true),
    Me = self(),
    Pid = spawn_link(fun() -> [Me ! {n, N} || N <- lists:seq(1, 2000)], exit(boom) end),
    line("order_exit", integer_to_list(before({'EXIT', Pid}, 0))),
    process_flag(trap_exit, false).

%% S3
table() ->
    [line(lists:flatten(io_lib:format("exit_~s_~s_~s", [Origin, Reason, Traps])), outcome(Origin, Reason, Traps))
     || Origin <- [link, call, self], Traps <- [false, true], Reason <- [normal, shutdown, kill, killed, noproc, boom]].

outcome(Origin, Reason, Traps) ->
    Me = self(),
    {_, Ref} = spawn_monitor(fun() ->
        process_flag(trap_exit, Traps),
        Self = self(),
        case Origin of
            link -> spawn_link(fun() -> exit(Reason) end);
            call -> spawn(fun() -> exit(Self, Reason) end);
            self -> exit(Self, Reason)
        end,
        Seen = receive {'EXIT', _, R} -> "message " ++ name(R) after 30 -> "dropped" end,
        Me ! {seen, Seen}
    end),
    receive
        {seen, Seen} -> receive {'DOWN', Ref, _, _, normal} -> Seen end;
        {'DOWN', Ref, _, _, R} -> "ends " ++ name(R)
    end.

drain() ->
    receive
        {'EXIT', _, R} -> ["exit " ++ name(R) | drain()];
        {'DOWN', _, _, _, R} -> ["down " ++ name(R) | drain()]
    after 30 -> []
    end.

drained() -> string:join(drain(), ", ").

dead() ->
    {Pid, Ref} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Ref, _, _, _} -> Pid end.

sleeper() -> spawn(fun() -> receive never -> ok end end).

%% S4
links() ->
    process_flag(trap_exit, true),
    A = sleeper(), link(A), link(A), exit(A, boom),
    line("link_twice", drained()),
    link(dead()),
    line("link_dead_trapping", drained()),
    Dead = dead(),
    {_, Ref} = spawn_monitor(fun() -> link(Dead), receive never -> ok end end),
    receive {'DOWN', Ref, _, _, R} ->
        %% link/1 raises noproc in one that does not trap: the reason has a stack trace then.
        line("link_dead_not_trapping", case R of {noproc, _} -> "noproc"; _ -> name(R) end)
    end,
    B = sleeper(), link(B), unlink(B), exit(B, boom),
    line("unlink", drained()),
    C = sleeper(), link(C), unlink(C), link(C), exit(C, boom),
    line("unlink_and_link", drained()),
    D = sleeper(), link(D), link(D), unlink(D), exit(D, boom),
    line("link_twice_unlink_once", drained()),
    process_flag(trap_exit, false).

%% S5
monitors() ->
    monitor(process, dead()),
    line("monitor_dead", drained()),
    A = sleeper(), monitor(process, A), monitor(process, A), exit(A, boom),
    line("monitor_twice", drained()),
    B = sleeper(), R1 = monitor(process, B), exit(B, kill), timer:sleep(20),
    demonitor(R1, [flush]),
    line("demonitor_flush", drained()),
    C = sleeper(), R2 = monitor(process, C), exit(C, kill), timer:sleep(20),
    demonitor(R2),
    line("demonitor_late", drained()),
    D = sleeper(), R3 = monitor(process, D), demonitor(R3), exit(D, kill), timer:sleep(20),
    line("demonitor_early", drained()),
    E = sleeper(), exit(E, boom), monitor(process, E),
    line("monitor_after_exit", drained()),
    F = sleeper(), exit(F, kill),
    line("is_alive_after_kill", atom_to_list(is_process_alive(F))).
