# The original's first shape: one GenServer owns all ports and does all the I/O, so calls run one after another.
Code.compiler_options(debug_info: false)
Code.require_file("json.exs", __DIR__)
Code.require_file("driver.exs", __DIR__)

defmodule V1 do
  use GenServer
  import Worker, only: [error: 2, error: 3, now: 0]

  @operation_ms 30_000
  @status_ms 5_000

  def start(config) do
    :ets.new(:workers, [:named_table, :public, :ordered_set])
    :persistent_term.put(:closed, false)
    {:ok, _} = GenServer.start_link(__MODULE__, config, name: __MODULE__)
  end

  # The caller waits only so long; the manager goes on. `begun` is 0 (waiting), 1 (begun) or 2 (withdrawn).
  def call(message) do
    begun = :atomics.new(1, [])
    limit = round(message["timeout_s"] * 1000)
    patience = min(limit, round(message["checkout_timeout_s"] * 1000))
    task = Task.async(fn -> ask({:call, message, begun}, :infinity) end)

    with nil <- Task.yield(task, patience),
         false <- :atomics.compare_exchange(begun, 1, 0, 2) == :ok,
         nil <- Task.yield(task, limit - patience) do
      error("CallTimeout", "no answer by the deadline; the manager works on", "maybe")
    else
      {:ok, answer} -> answer
      true -> error("CheckoutTimeout", "the manager was busy until the deadline")
      {:exit, reason} -> error("PoolClosed", "the manager has ended: #{inspect(reason)}", "maybe")
    end
  end

  def status, do: ask(:status, @status_ms)
  def warm_up(count), do: ask({:warm_up, count}, :infinity)

  defp ask(message, limit) do
    GenServer.call(__MODULE__, message, limit)
  catch
    :exit, {:timeout, _} -> error("CallTimeout", "the manager was busy for #{limit} ms", "no")
    :exit, _ -> error("PoolClosed", "the pool is closed")
  end

  def close(grace) do
    :persistent_term.put(:closed, true)
    stop = Task.async(fn -> Process.whereis(__MODULE__) && GenServer.stop(__MODULE__, :normal, :infinity) end)

    if Task.yield(stop, grace) == nil do
      for {_, worker, _} <- :ets.tab2list(:workers), do: Worker.kill_process(worker)
      Task.await(stop, :infinity)
    end
  catch
    :exit, _ -> :ok
  end

  # In the manager.

  @impl true
  def init(config) do
    Process.flag(:trap_exit, true)
    {:ok, %{config: config, last: 0}}
  end

  @impl true
  def handle_call({:call, message, begun}, _, state) do
    cond do
      :persistent_term.get(:closed) -> {:reply, error("PoolClosed", "the pool is closed"), state}
      :atomics.compare_exchange(begun, 1, 0, 1) == :ok -> serve(message, state)
      true -> {:reply, :withdrawn, state}
    end
  end

  def handle_call(:status, _, state) do
    workers = for {number, {_, pid, _}, served} <- living(), do: %{worker: number, pid: pid, state: "idle", served: served}
    {:reply, {:ok, %{workers: workers}}, state}
  end

  def handle_call({:warm_up, count}, _, state) do
    state = Enum.reduce(Range.new(length(living()) + 1, count, 1), state, fn _, state -> start_worker(state) end)
    {:reply, {:ok, %{ready: length(living())}}, state}
  end

  @impl true
  def handle_info(_, state), do: {:noreply, state}

  @impl true
  def terminate(_, _), do: for({_, worker, _} <- :ets.tab2list(:workers), do: Worker.kill(worker))

  defp serve(%{"id" => id, "command" => command, "args" => args}, state) do
    state = if living() == [], do: start_worker(state), else: state

    case Enum.min_by(living(), fn {_, _, served} -> served end, fn -> nil end) do
      nil ->
        {:reply, error("WorkerCrashed", "a worker died before it answered its init ping", "no"), state}

      {number, worker, served} ->
        :ets.insert(:workers, {number, worker, served + 1})

        case Worker.exchange(worker, id, command, args, now() + @operation_ms) do
          {kind, _} = answer when kind in [:ok, :error] -> {:reply, answer, state}
          broken -> {:reply, release(number, worker, broken), state}
        end
    end
  end

  defp release(number, worker, broken) do
    Worker.kill(worker)
    :ets.delete(:workers, number)

    case {:persistent_term.get(:closed), broken} do
      {true, _} -> error("PoolClosed", "the pool was closed during the call", "yes")
      {_, :timeout} -> error("CallTimeout", "worker #{number} did not answer in #{@operation_ms} ms", "yes")
      {_, :closed} -> error("WorkerCrashed", "worker #{number} had ended before the call", "no")
      {_, {:crashed, how}} -> error("WorkerCrashed", "worker #{number} #{how}", "yes")
    end
  end

  defp living do
    for {number, {port, _, _} = worker, _} <- :ets.tab2list(:workers), Port.info(port) == nil do
      Worker.kill(worker)
      :ets.delete(:workers, number)
    end

    :ets.tab2list(:workers)
  end

  defp start_worker(%{config: config, last: last} = state) do
    worker = Worker.start(config, last + 1)
    :ets.insert(:workers, {last + 1, worker, 0})

    if Worker.shake_hands(worker, now() + round(config["start_timeout_s"] * 1000)) != :ok do
      Worker.kill(worker)
      :ets.delete(:workers, last + 1)
    end

    %{state | last: last + 1}
  end
end

Driver.run(V1, %{
  name: "elixir-v1",
  summary: "one GenServer does all the I/O through ports",
  capabilities: ["kill", "journal", "warm_up"]
})
