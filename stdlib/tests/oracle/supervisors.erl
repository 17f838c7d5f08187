%% What OTP's supervisor does: all strategies, kinds of restart and reasons; the limit; significant children.
%% Prints lines that stdlib/tests/supervisor_oracle.rs compares with its own.
-module(supervisors).
-export([main/0, init/1, handle_cast/2, handle_call/3, handle_info/2, terminate/2]).

main() ->
    process_flag(trap_exit, true),
    [scenario(name([S, R, O]), S, never, [{a, permanent, false}, {b, R, false}, {c, permanent, false}], 5, [{b, O}])
     || S <- [one_for_one, one_for_all, rest_for_one],
        R <- [permanent, transient, temporary],
        O <- [crash, finish, shutdown]],
    [scenario(name([limit, S]), S, never, [{a, permanent, false}, {b, permanent, false}], 1, [{a, crash}, {b, crash}])
     || S <- [one_for_one, one_for_all, rest_for_one]],
    [scenario(name([auto, A, R, O]), one_for_one, A,
              [{a, permanent, false}, {b, R, true}, {c, R, true}], 5, [{b, O}, {c, O}])
     || A <- [any_significant, all_significant],
        R <- [transient, temporary],
        O <- [finish, shutdown, crash]],
    [scenario(name([sibling, S]), S, never,
              [{a, permanent, false}, {b, temporary, false}, {c, transient, false}], 5, [{a, crash}, {a, crash}])
     || S <- [one_for_all, rest_for_one]],
    halt().

name(Parts) -> lists:join(" ", [atom_to_list(P) || P <- Parts]).

scenario(Name, Strategy, Auto, Children, Most, Orders) ->
    Me = self(),
    Flags = #{strategy => Strategy, intensity => Most, period => 1000, auto_shutdown => Auto},
    Specs = [#{id => Id, restart => R, significant => G, start => {gen_server, start_link, [{local, Id}, ?MODULE, {child, Id, Me}, []]}}
             || {Id, R, G} <- Children],
    {ok, Sup} = supervisor:start_link(?MODULE, {sup, Flags, Specs}),
    drain(Name),
    [order(Name, Sup, Id, Order) || {Id, Order} <- Orders],
    case is_process_alive(Sup) of
        true ->
            Left = [Id || {Id, Pid, _, _} <- lists:reverse(supervisor:which_children(Sup)), is_pid(Pid)],
            line(Name, ["left: ", lists:join(" ", [atom_to_list(Id) || Id <- Left])]),
            unlink(Sup),
            Ref = monitor(process, Sup),
            exit(Sup, shutdown),
            receive {'DOWN', Ref, _, _, _} -> ok end,
            drain(Name);
        false ->
            receive {'EXIT', Sup, Reason} -> line(Name, ["the supervisor: ", atom_to_list(Reason)]) end
    end.

order(Name, Sup, Id, Order) ->
    case whereis(Id) of
        undefined -> line(Name, [atom_to_list(Id), " is not there"]);
        Pid ->
            Ref = monitor(process, Pid),
            gen_server:cast(Pid, Order),
            receive {'DOWN', Ref, _, _, _} -> ok end,
            %% Twice: the second answer certainly comes after the exit of the child has been dealt with.
            catch supervisor:which_children(Sup),
            catch supervisor:which_children(Sup),
            drain(Name)
    end.

drain(Name) ->
    receive
        {said, Text} -> line(Name, Text), drain(Name)
    after 0 -> ok
    end.

line(Name, Text) -> io:format("~s: ~s~n", [Name, Text]).

init({sup, Flags, Specs}) -> {ok, {Flags, Specs}};
init({child, Id, Tester}) ->
    process_flag(trap_exit, true),
    Tester ! {said, [atom_to_list(Id), " starts"]},
    {ok, {Id, Tester}}.

handle_cast(crash, State) -> {stop, crash, State};
handle_cast(finish, State) -> {stop, normal, State};
handle_cast(shutdown, State) -> {stop, shutdown, State}.

handle_call(_, _, State) -> {reply, ok, State}.
handle_info(_, State) -> {noreply, State}.

terminate(Reason, {Id, Tester}) ->
    Tester ! {said, [atom_to_list(Id), " ends: ", atom_to_list(Reason)]}.
