%% The workloads in Erlang: `erl -run workloads main -extra WORKLOAD [key=value ...]`, with the output of engset's own
%% `workloads`.
%%
%% A process is a process, a call is gen_server:call/2 with its timeout of 5 s, a supervisor is OTP's. Messages are tuples
%% with one number. All flags are the emulator's defaults, but for what cannot be done without: `compare` gives +P 2097152
%% (skynet has 1.1 million processes), +S N:N for threads=N, and -kernel logger_level none (restart must not log). The receiver of fanin
%% keeps its messages off its heap (message_queue_data), which doubles its speed.
-module(workloads).
-behaviour(gen_server).
-export([main/0]).
-export([init/1, handle_call/3, handle_cast/2, start_child/1]).

main() ->
    [Workload | Keys] = init:get_plain_arguments(),
    Options = maps:from_list([key(Key) || Key <- Keys]),
    %% Not in the process that starts the emulator.
    spawn(fun() ->
        try run(Workload, Options) of
            _ -> halt(0)
        catch
            throw:{not_done, Why} -> stop(3, Why);
            Class:Reason:Stack -> stop(1, io_lib:format("~p:~p ~p", [Class, Reason, Stack]))
        end
    end).

stop(Code, Text) ->
    io:format(standard_error, "~s~n", [Text]),
    halt(Code).

key(Text) ->
    [Name, Number] = string:split(Text, "="),
    {list_to_atom(Name), list_to_integer(Number)}.

run("spawn", Options) ->
    N = maps:get(n, Options, 1000000),
    {Time, _} = timed(fun() ->
        Me = self(),
        spawn(fun() -> repeat(N, fun(I) -> spawn(fun() -> Me ! {done, I} end) end) end),
        collect(N)
    end),
    rate("spawn", "rate", N, Time, "spawns/s");
run("idle", Options) ->
    N = maps:get(n, Options, 1000000),
    Before = resident(),
    {Time, _} = timed(fun() ->
        Me = self(),
        spawn(fun() ->
            repeat(N, fun(I) -> spawn(fun() -> idler(Me) end) ! {hello, I} end),
            receive stop -> ok end
        end),
        collect(N)
    end),
    figure("idle", "bytes", (resident() - Before) / N, "bytes/process"),
    rate("idle", "rate", N, Time, "spawns/s");
run("pingpong", Options) ->
    N = maps:get(n, Options, 2000000),
    each("pingpong", "rtt", N, pairs(1, N, 1));
run("pairs", Options) ->
    #{pairs := Pairs, n := N, window := Window} = maps:merge(#{pairs => 64, n => 200000, window => 100}, Options),
    rate("pairs", "rate", 2 * Pairs * N, pairs(Pairs, N, Window), "msgs/s");
run("fanin", #{bound := Bound}) when Bound > 0 ->
    throw({not_done, "mailboxes of Erlang have no bound"});
run("fanin", Options) ->
    #{senders := Senders, n := N} = maps:merge(#{senders => 64, n => 200000}, Options),
    {Time, Total} = timed(fun() ->
        Me = self(),
        Receiver = spawn_opt(fun() -> Me ! {total, sum(Senders * N, 0)} end, [{message_queue_data, off_heap}]),
        repeat(Senders, fun(_) -> spawn(fun() -> repeat(N, fun(I) -> Receiver ! {done, I} end) end) end),
        receive {total, Sum} -> Sum end
    end),
    Total = Senders * (N * (N + 1) div 2),
    rate("fanin", "rate", Senders * N, Time, "msgs/s");
run("ring", Options) ->
    ring("ring", maps:merge(#{size => 503, hops => 5000000}, Options));
run("bigring", Options) ->
    ring("bigring", maps:merge(#{size => 100000, hops => 2000000}, Options));
run("big", Options) ->
    #{n := N, pings := Pings} = maps:merge(#{n => 512, pings => 2000}, Options),
    Me = self(),
    Peers = list_to_tuple([spawn(fun() -> peer(Me, Place, Pings) end) || Place <- lists:seq(1, N)]),
    {Time, _} = timed(fun() ->
        [Peer ! {start, Peers} || Peer <- tuple_to_list(Peers)],
        repeat(N, fun(_) -> receive finished -> ok end end)
    end),
    rate("big", "rate", 2 * N * Pings, Time, "msgs/s");
run("skynet", Options) ->
    Size = round(math:pow(10, maps:get(depth, Options, 6))),
    {Time, Sum} = timed(fun() ->
        Me = self(),
        spawn(fun() -> subtree(Me, 0, Size) end),
        receive {sum, Total} -> Total end
    end),
    Sum = Size * (Size - 1) div 2,
    figure("skynet", "time", Time / 1.0e6, "ms");
run("call", Options) ->
    N = maps:get(n, Options, 500000),
    {ok, Server} = gen_server:start_link(?MODULE, echo, []),
    Call = fun(I) -> I = gen_server:call(Server, {echo, I}) end,
    repeat(1000, Call),
    {Time, _} = timed(fun() -> repeat(N, Call) end),
    each("call", "rtt", N, Time);
run("hog", Options) ->
    #{hogs := Hogs, seconds := Seconds} = maps:merge(#{hogs => 4, seconds => 5}, Options),
    repeat(Hogs, fun(I) -> spawn(fun() -> compute_for_ever(I) end) end),
    timer:sleep(200),
    {ok, Server} = gen_server:start_link(?MODULE, echo, []),
    Sorted = list_to_tuple(lists:sort(latencies(Server, erlang:monotonic_time(nanosecond) + Seconds * 1000000000, []))),
    Done = tuple_size(Sorted),
    At = fun(Share) -> element(ceil(Done * Share), Sorted) / 1000 end,
    figure("hog", "p50", At(0.5), "us"),
    figure("hog", "p99", At(0.99), "us"),
    figure("hog", "max", At(1), "us"),
    figure("hog", "done", Done, "calls");
run("timers", Options) ->
    N = maps:get(n, Options, 1000000),
    Times = [rand:uniform(60000) || _ <- lists:seq(1, N)],
    Me = self(),
    {Setting, Timers} = timed(fun() -> [erlang:send_after(Time, Me, {fired, Time}) || Time <- Times] end),
    {Cancelling, Cancelled} = timed(fun() -> cancel(Timers, 0, 0) end),
    rate("timers", "set", N, Setting, "timers/s"),
    rate("timers", "cancel", Cancelled, Cancelling, "timers/s");
run("restart", Options) ->
    N = maps:get(n, Options, 200000),
    process_flag(trap_exit, true),
    {ok, _} = supervisor:start_link(?MODULE, {supervisor, self()}),
    {Time, _} = timed(fun() ->
        repeat(N, fun(I) -> receive {up, Child} -> gen_server:cast(Child, {crash, I}) end end),
        receive {up, _} -> ok end
    end),
    rate("restart", "rate", N, Time, "restarts/s");
run("monitor", Options) ->
    N = maps:get(n, Options, 500000),
    {Spawning, Waiters} = timed(fun() -> [waiter() || _ <- lists:seq(1, N)] end),
    {Ending, _} = timed(fun() ->
        [Waiter ! {stop, 1} || Waiter <- Waiters],
        repeat(N, fun(_) -> receive {'DOWN', _, process, _, normal} -> ok end end)
    end),
    rate("monitor", "rate", N, Spawning + Ending, "downs/s"),
    rate("monitor", "exit_rate", N, Ending, "downs/s");
run(_, _) ->
    throw({not_done, "the program for Erlang has no such workload"}).

%% Figures.

timed(Job) ->
    Start = erlang:monotonic_time(nanosecond),
    Result = Job(),
    {erlang:monotonic_time(nanosecond) - Start, Result}.

figure(Workload, Name, Value, Unit) ->
    io:format("~s ~s ~.2f ~s~n", [Workload, Name, float(Value), Unit]).

rate(Workload, Name, Count, Time, Unit) ->
    figure(Workload, Name, Count * 1.0e9 / Time, Unit).

each(Workload, Name, Count, Time) ->
    figure(Workload, Name, Time / Count, "ns").

resident() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Kilobytes]} = re:run(Status, "VmRSS:\\s+(\\d+) kB", [{capture, [1], list}]),
    1024 * list_to_integer(Kilobytes).

%% Parts of the jobs.

repeat(0, _) -> ok;
repeat(N, Do) -> Do(N), repeat(N - 1, Do).

collect(N) ->
    Sum = sum(N, 0),
    Sum = N * (N + 1) div 2.

sum(0, Sum) -> Sum;
sum(N, Sum) -> receive {done, I} -> sum(N - 1, Sum + I) end.

idler(Collector) ->
    receive {hello, I} -> Collector ! {done, I} end,
    receive {hello, _} -> ok end.

pairs(Pairs, N, Window) ->
    Me = self(),
    {Time, _} = timed(fun() ->
        repeat(Pairs, fun(_) -> spawn(fun() -> pinger(Me, N, Window) end) end),
        repeat(Pairs, fun(_) -> receive finished -> ok end end)
    end),
    Time.

pinger(Main, N, Window) ->
    Me = self(),
    Ponger = spawn_link(fun() -> ponger(Me) end),
    Sent = min(N, Window),
    [Ponger ! {ping, I} || I <- lists:seq(0, Sent - 1)],
    pongs(Ponger, 0, Sent, N),
    Main ! finished.

pongs(_, N, _, N) -> ok;
pongs(Ponger, I, Sent, N) ->
    receive
        {pong, I} when Sent < N -> Ponger ! {ping, Sent}, pongs(Ponger, I + 1, Sent + 1, N);
        {pong, I} -> pongs(Ponger, I + 1, Sent, N)
    end.

ponger(Pinger) ->
    receive {ping, I} -> Pinger ! {pong, I} end,
    ponger(Pinger).

ring(Workload, #{size := Size, hops := Hops}) ->
    Me = self(),
    First = spawn(fun() -> receive {next, Next} -> member(Me, Next) end end),
    Last = lists:foldl(fun(_, Next) -> spawn(fun() -> member(Me, Next) end) end, First, lists:seq(2, Size)),
    First ! {next, Last},
    Lap = fun(Left) -> First ! {token, Left}, receive finished -> ok end end,
    %% A lap that does not count.
    Lap(Size),
    {Time, _} = timed(fun() -> Lap(Hops) end),
    each(Workload, "hop", Hops, Time).

member(Main, Next) ->
    receive
        {token, 0} -> Main ! finished;
        {token, Left} -> Next ! {token, Left - 1}
    end,
    member(Main, Next).

peer(Main, Place, Pings) ->
    rand:seed(exsss, Place),
    receive {start, Peers} -> ping(Main, Place, Peers, 1, Pings) end.

%% To any process but this one.
ping(Main, Place, Peers, Number, Pings) ->
    Other = case rand:uniform(tuple_size(Peers) - 1) of
        Before when Before < Place -> Before;
        Behind -> Behind + 1
    end,
    element(Other, Peers) ! {ping, self(), Number},
    peer(Main, Place, Peers, Number, Pings).

peer(Main, Place, Peers, Sent, Pings) ->
    receive
        {ping, From, Number} -> From ! {pong, Number}, peer(Main, Place, Peers, Sent, Pings);
        {pong, Sent} when Sent < Pings -> ping(Main, Place, Peers, Sent + 1, Pings);
        {pong, Sent} -> Main ! finished, peer(Main, Place, Peers, Sent, Pings)
    end.

subtree(Parent, First, 1) -> Parent ! {sum, First};
subtree(Parent, First, Size) ->
    Me = self(),
    Part = Size div 10,
    [spawn(fun() -> subtree(Me, First + Child * Part, Part) end) || Child <- lists:seq(0, 9)],
    Parent ! {sum, lists:sum([receive {sum, Sum} -> Sum end || _ <- lists:seq(1, 10)])}.

%% Below 2^59: no big integers.
compute_for_ever(X) -> compute_for_ever(((X bxor (X bsr 13)) * 5 + 1) band 16#7ffffffffffff).

latencies(Server, End, Latencies) ->
    timer:sleep(1),
    Awake = erlang:monotonic_time(nanosecond),
    1 = gen_server:call(Server, {echo, 1}),
    Now = erlang:monotonic_time(nanosecond),
    case Now < End of
        true -> latencies(Server, End, [Now - Awake | Latencies]);
        false -> [Now - Awake | Latencies]
    end.

%% The tenth is left alone.
cancel([], _, Cancelled) -> Cancelled;
cancel([_ | Timers], 9, Cancelled) -> cancel(Timers, 0, Cancelled);
cancel([Timer | Timers], Place, Cancelled) ->
    erlang:cancel_timer(Timer),
    cancel(Timers, Place + 1, Cancelled + 1).

waiter() ->
    Waiter = spawn(fun() -> receive {stop, _} -> ok end end),
    monitor(process, Waiter),
    Waiter.

%% The server of call and hog; the supervisor of restart and its child.

init(echo) ->
    {ok, echo};
init({child, Driver}) ->
    Driver ! {up, self()},
    {ok, child};
init({supervisor, Driver}) ->
    {ok, {#{strategy => one_for_one, intensity => 1000000000, period => 1},
          [#{id => child, start => {?MODULE, start_child, [Driver]}}]}}.

start_child(Driver) -> gen_server:start_link(?MODULE, {child, Driver}, []).

handle_call({echo, I}, _From, State) -> {reply, I, State}.

handle_cast({crash, I}, _State) -> exit({crash, I}).
