defmodule Worker do
  @moduledoc "A worker process behind a port. Frames have a length of 4 bytes before them, as the wire says."

  @look_ms 100

  def start(config, number) do
    [program | words] = Enum.map(config["worker_command"], &String.replace(&1, "{worker_id}", "#{number}"))
    env = for {name, value} <- config["env"], do: {to_charlist(name), to_charlist(value)}
    port = Port.open({:spawn_executable, System.find_executable(program)}, [:binary, :exit_status, args: words, env: env])
    {:os_pid, pid} = Port.info(port, :os_pid)
    {port, pid, config["max_frame_bytes"]}
  end

  @doc "Answers :ok once the init ping is answered; other frames are strays of the start. `deadline` is as of now/0."
  def shake_hands(worker, deadline) do
    send_request(worker, 0, "ping", %{})
    await_ping(worker, "", deadline)
  end

  defp await_ping(worker, data, deadline) do
    case next_frame(worker, data, deadline) do
      {:ok, frame, rest} -> if match?(%{"id" => 0}, read(frame)), do: :ok, else: await_ping(worker, rest, deadline)
      _ -> :failed
    end
  end

  @doc "One exchange, in the process that owns the port: an answer, :closed (not sent), :timeout, or {:crashed, how}."
  def exchange(worker, id, command, args, deadline) do
    with :ok <- send_request(worker, id, command, args),
         {:ok, frame, rest} <- next_frame(worker, "", deadline) do
      case {rest, read(frame)} do
        {"", %{"id" => ^id, "success" => true, "result" => result}} -> {:ok, %{result: result}}
        {"", %{"id" => ^id, "success" => false, "error" => text}} -> error("CommandError", text)
        _ -> {:crashed, "sent what is not the one response to request #{id}"}
      end
    end
  end

  defp next_frame({_, _, most}, <<size::32, _::binary>>, _) when size > most,
    do: {:crashed, "sent a frame of #{size} bytes; the limit is #{most}"}

  defp next_frame(_, <<size::32, frame::binary-size(size), rest::binary>>, _), do: {:ok, frame, rest}

  defp next_frame({port, pid, _} = worker, data, deadline) do
    receive do
      {^port, {:data, more}} -> next_frame(worker, data <> more, deadline)
      {^port, {:exit_status, status}} -> {:crashed, "has ended with status #{status}"}
    after
      min(left(deadline), @look_ms) ->
        cond do
          left(deadline) == 0 -> :timeout
          # What the worker has started may hold its pipe open; then the port does not tell its end.
          File.exists?("/proc/#{pid}") -> next_frame(worker, data, deadline)
          true -> {:crashed, "has ended"}
        end
    end
  end

  defp send_request({port, _, _}, id, command, args) do
    data = IO.iodata_to_binary(Json.encode(%{id: id, command: command, args: args}))
    Port.command(port, [<<byte_size(data)::32>>, data])
    :ok
  rescue
    ArgumentError -> :closed
  end

  defp read(frame) do
    Json.decode(frame)
  rescue
    _ -> :wrong
  end

  @doc "Kills the worker with what it has started."
  def kill({port, _, _} = worker) do
    kill_process(worker)

    try do
      Port.close(port)
    rescue
      ArgumentError -> :closed
    end
  end

  def kill_process({_, pid, _}), do: System.cmd("kill", ["-KILL", "--", "-#{pid}"], stderr_to_stdout: true)

  def error(name, text, sent \\ nil), do: {:error, %{name: name, text: text, sent: sent}}
  def now, do: System.monotonic_time(:millisecond)
  def left(deadline), do: max(0, deadline - now())
end

defmodule Driver do
  @moduledoc "Speaks the driver protocol for a pool: a module with start/1, call/1, status/0, warm_up/1 and close/1."

  def run(pool, about) do
    :io.setopts(:standard_io, encoding: :latin1)
    Process.flag(:trap_exit, true)
    :persistent_term.put(:unanswered, :counters.new(1, []))
    loop(pool, Map.merge(%{protocol: 1, commands: nil, request_ids: true}, about))
  end

  defp loop(pool, about) do
    case IO.binread(:stdio, :line) do
      line when is_binary(line) ->
        message = Json.decode(line)
        take(message["type"], message, pool, about)
        loop(pool, about)

      _ ->
        pool.close(0)
        System.halt(0)
    end
  end

  defp take("hello", message, _, about), do: reply(message, {:ok, about})

  defp take("open", message, pool, _) do
    pool.start(message["config"])
    reply(message, {:ok, %{}})
  end

  defp take("call", message, pool, _) do
    count(1)

    spawn(fn ->
      reply(message, pool.call(message))
      count(-1)
    end)
  end

  defp take("status", message, pool, _), do: spawn(fn -> reply(message, pool.status()) end)
  defp take("warm_up", message, pool, _), do: spawn(fn -> reply(message, pool.warm_up(message["n"])) end)

  defp take("close", message, pool, _) do
    spawn(fn ->
      pool.close(round(message["grace_s"] * 1000))
      answer_last(message)
    end)
  end

  defp take(other, message, _, _), do: reply(message, Worker.error("InvalidRequest", "unknown type #{other}"))

  defp answer_last(message) do
    if :counters.get(:persistent_term.get(:unanswered), 1) > 0 do
      Process.sleep(1)
      answer_last(message)
    else
      reply(message, {:ok, %{}})
    end
  end

  defp count(change), do: :counters.add(:persistent_term.get(:unanswered), 1, change)

  # An answer has either ok or error.
  defp reply(message, {kind, value}),
    do: IO.binwrite(:stdio, [Json.encode(%{kind => value, reply_to: message["id"]}), ?\n])
end
