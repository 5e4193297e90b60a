using System.Diagnostics;
using AttnCompose.Cli.Bench.Interop;
using AttnCompose.Cuda;
using AttnCompose.Cuda.Interop;

namespace AttnCompose.Cli.Bench;

/// <summary>
/// Measurements on a GPU that are no contest: kernels one by one, the host's share, compiling, the chip's ceilings.
/// </summary>
internal static class CudaMeasures
{
    /// <summary>The time alone of each kernel of a call, in order of launch; one list of samples a kernel, ms.</summary>
    public static IReadOnlyList<(string Kernel, double[] Samples)> Kernels<T>(
        ICudaAttentionPipeline pipeline, CudaInputs<T> inputs, int samples)
        where T : unmanaged
    {
        const int CachesToFill = 16; // about 0.3 ms of filling on an H200, in which the host puts all kernels on the stream
        CudaDevice device = inputs.Device;
        long filled = CachesToFill * CudaInputs<T>.CacheBytes(device);
        using CudaTensor<byte> filler = CudaTensor.Allocate<byte>(device, (nint)filled);
        using var marks = new KernelMarks(device);
        pipeline.Run(inputs[0], device.DefaultStream);
        device.DefaultStream.Synchronize();
        device.Observer = marks;
        try
        {
            var times = new List<(string Kernel, double[] Samples)>();
            for (int sample = -1; sample < samples; sample++)
            {
                marks.Clear();
                filler.FillBytes(0, device.DefaultStream);
                pipeline.Run(inputs[(sample + 1) % inputs.Count], device.DefaultStream);
                device.DefaultStream.Synchronize();
                IReadOnlyList<(string Kernel, double Milliseconds)> measured = marks.Times();
                if (sample < 0)
                    times.AddRange(measured.Select(time => (time.Kernel, new double[samples])));
                for (int i = 0; sample >= 0 && i < times.Count; i++)
                    times[i].Samples[sample] = measured[i].Milliseconds;
            }
            return times;
        }
        finally
        {
            device.Observer = null;
        }
    }

    /// <summary>
    /// Milliseconds of the host in one call, a sample a call: on the same tensors, on others than the call before, as a graph of
    /// the caller's, and with kernels that are launched one by one. The device keeps up: the stream is waited for between blocks of calls, outside the times.
    /// </summary>
    public static IReadOnlyList<(string Part, double[] Samples)> HostTimes<T>(
        ICudaAttentionPipeline pipeline, CudaInputs<T> inputs, int calls)
        where T : unmanaged
    {
        CudaStream stream = inputs.Device.DefaultStream;
        for (int set = 0; set < inputs.Count; set++)
            pipeline.Run(inputs[set], stream);
        stream.Synchronize();
        using CudaGraph graph = CudaGraph.Capture(stream, () => pipeline.Run(inputs[0], stream));
        CudaTuning? tuning = inputs.Device.OwnTuning;
        (string, double[])[] together =
        [
            ("same tensors", Measure(_ => pipeline.Run(inputs[0], stream))),
            ("changed pointers", Measure(call => pipeline.Run(inputs[call % inputs.Count], stream))),
            ("graph", Measure(_ => graph.Launch(stream))),
        ];
        inputs.Device.Tuning = inputs.Device.Tuning with { GraphKernels = int.MaxValue };
        try
        {
            return [.. together, ("kernels one by one", Measure(_ => pipeline.Run(inputs[0], stream)))];
        }
        finally
        {
            inputs.Device.OwnTuning = tuning;
        }

        double[] Measure(Action<int> call)
        {
            const int Block = 16;
            var times = new double[calls];
            // The runtime compiles what is called often once more, some 100 ms after it noticed.
            for (long start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start).TotalMilliseconds < 500;)
                Put(Block);
            Put(calls);
            return times;

            void Put(int count)
            {
                for (int i = 0; i < count; i++)
                {
                    if (i % Block == 0)
                        stream.Synchronize();
                    long start = Stopwatch.GetTimestamp();
                    call(i);
                    times[i] = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
                }
                stream.Synchronize();
            }
        }
    }

    /// <summary>
    /// Milliseconds to compile a pipeline's kernels from nothing, as a first call does and one after the other in this process,
    /// and to load and verify them from their files and hand them to the driver.
    /// </summary>
    public static IReadOnlyList<(string Part, double[] Samples)> KernelLoading(
        PipelineDescriptor pipeline, CudaDevice device, int headDim, ElementType element, int samples)
    {
        var source = new KernelSource(
            pipeline.Name.Replace('-', '_'), pipeline.CudaSource, [typeof(FlashAttentionAttribute).Assembly]);
        var options = new CompileOptions
        {
            Architecture = device.Architecture, HeadDim = headDim, Element = element, Output = element,
            // Later versions of NVRTC remember what they compiled.
            Forgets = KernelCompiler.Version >= new Version(12, 9),
        };
        const int Compilations = 3;
        double[] Compile(KernelWorkers workers) => [.. Enumerable.Range(0, Compilations).Select(_ =>
        {
            KernelWorkers.Dismiss(idle: 0); // starting them is part of it
            return Milliseconds(() =>
            {
                KernelCache cache = Cache(new() { UseCache = false });
                KernelBatch.Get(cache, cache.PreparePrograms(source, options), workers, (_, _, _) => { }, default);
            });
        })];
        double[] sideBySide = Compile(KernelWorkers.Current), inTurn = Compile(KernelWorkers.Current with { Most = 0 });
        DirectoryInfo folder = Directory.CreateTempSubdirectory("attncompose-bench-");
        try
        {
            var kept = new CudaSettings { CacheDirectory = folder.FullName };
            PreparedKernel[] programs = Cache(kept).PreparePrograms(source, options);
            KernelBatch.Get(Cache(kept), programs, KernelWorkers.Current, (_, _, _) => { }, default);
            double[] loads = [.. Enumerable.Range(0, samples).Select(_ => Milliseconds(() =>
            {
                KernelCache cache = Cache(kept);
                foreach (PreparedKernel program in programs)
                    new CudaModule(device, cache.GetOrCompile(program)).Dispose();
            }))];
            return [("compile", sideBySide), ("compile in turn", inTurn), ("load", loads)];
        }
        finally
        {
            folder.Delete(recursive: true);
        }

        static KernelCache Cache(CudaSettings settings) => new(
            settings, kernel => KernelCompiler.Compile(kernel.Source, kernel.Headers, kernel.Options), () => KernelCompiler.Identity);
    }

    /// <summary>Device memory that is free, bytes.</summary>
    public static long FreeBytes(CudaDevice device)
    {
        CudaContext context = device.Context;
        context.Check(context.Enter("cuMemGetInfo").MemoryInfo(out nuint free, out _), "cuMemGetInfo");
        return (long)free;
    }

    /// <summary>
    /// The better of two measurements of one chip: clocks take a while to settle from rest, and fall under load.
    /// </summary>
    public static Ceilings Better(Ceilings a, Ceilings b) => new(
        Math.Max(a.MatmulTeraflops, b.MatmulTeraflops), Math.Max(a.SustainedTeraflops, b.SustainedTeraflops),
        Math.Max(a.CopyTerabytes, b.CopyTerabytes), b.Note);

    /// <summary>What the chip can do: a matrix product of 8192 on a side through cuBLAS, and a copy through the driver.</summary>
    public static Ceilings Measure(CudaDevice device, CudaTimer timer, ElementType element, int samples)
    {
        (double best, double sustained, string note) = Matmul(device, timer, element, samples);
        return new(best, sustained, Copy(device, timer, samples), note);
    }

    private static double Copy(CudaDevice device, CudaTimer timer, int samples)
    {
        const long MostBytes = 2L << 30;
        const int Times = 10;
        CudaContext context = device.Context;
        nint bytes = (nint)Math.Max(16, Math.Min(MostBytes, FreeBytes(device) / 8));
        using CudaTensor<byte> from = CudaTensor.Allocate<byte>(device, bytes);
        using CudaTensor<byte> to = CudaTensor.Allocate<byte>(device, bytes);
        from.FillBytes(0x5A);
        double milliseconds = Settled(samples, () => timer.Time(() =>
        {
            for (int i = 0; i < Times; i++)
            {
                CudaResult result = context.Driver.CopyOnDevice(to.Pointer, from.Pointer, (nuint)bytes, timer.Stream.Handle);
                context.Check(result, "cuMemcpyDtoDAsync");
            }
        })).Median;
        return 2.0 * bytes * Times / milliseconds / 1e9;
    }

    private static unsafe (double Best, double Sustained, string Note) Matmul(
        CudaDevice device, CudaTimer timer, ElementType element, int samples)
    {
        const int Side = 8192;
        const int Times = 7;
        if (device.Context.Driver is not NativeCudaDriver || !NativeMeasures.HasBlas)
            return (double.NaN, double.NaN, "matmul not available: cuBLAS was not found");
        device.Context.Enter("cublasCreate");
        nint handle = CreateBlas();
        if (handle == 0)
            return (double.NaN, double.NaN, "matmul not available: cuBLAS does not start");
        try
        {
            using CudaTensor<ushort> a = CudaTensor.Allocate<ushort>(device, Side, Side);
            using CudaTensor<ushort> b = CudaTensor.Allocate<ushort>(device, Side, Side);
            using CudaTensor<ushort> c = CudaTensor.Allocate<ushort>(device, Side, Side);
            var normal = new NormalFill(device, element);
            normal.Fill(a, seed: 1, deviation: 1);
            normal.Fill(b, seed: 2, deviation: 1);
            int type = element == ElementType.Float16 ? CuBlas.Float16Data : CuBlas.BFloat16Data;
            int result = CuBlas.cublasSetStream_v2(handle, timer.Stream.Handle);
            void Multiply()
            {
                const int Plain = 0;
                const int Default = -1;
                float alpha = 1, beta = 0;
                for (int i = 0; i < Times; i++)
                {
                    result |= CuBlas.cublasGemmEx(
                        handle, Plain, Plain, Side, Side, Side, &alpha, a.Pointer, type, Side, b.Pointer, type, Side, &beta,
                        c.Pointer, type, Side, CuBlas.ComputeFloat32, Default);
                }
            }
            (double least, double median) = Settled(samples, () => timer.Time(Multiply));
            const double Operations = 2.0 * Side * Side * Side * Times;
            return result == CuBlas.Success
                ? (Operations / least / 1e9, Operations / median / 1e9, $"cuBLAS {BlasVersion(handle)}")
                : (double.NaN, double.NaN, $"matmul not available: cuBLAS says {result}");
        }
        finally
        {
            _ = CuBlas.cublasDestroy_v2(handle);
        }
    }

    private static unsafe nint CreateBlas()
    {
        nint handle;
        return CuBlas.cublasCreate_v2(&handle) == CuBlas.Success ? handle : 0;
    }

    private static unsafe int BlasVersion(nint handle)
    {
        int version;
        return CuBlas.cublasGetVersion_v2(handle, &version) == CuBlas.Success ? version : 0;
    }

    /// <summary>The least time of all, and the median once clocks have settled.</summary>
    private static (double Least, double Median) Settled(int samples, Func<double> time)
    {
        const double WarmUpMilliseconds = 700;
        const int MostWarmUps = 100;
        (double spent, double least) = (0, double.PositiveInfinity);
        for (int i = 0; i < MostWarmUps && spent < WarmUpMilliseconds; i++)
        {
            double once = time();
            (spent, least) = (spent + once, Math.Min(least, once));
        }
        SampleStatistics settled = SampleStatistics.Of([.. Enumerable.Range(0, samples).Select(_ => time())]);
        return (Math.Min(least, settled.Least), settled.Median);
    }

    private static double Milliseconds(Action action)
    {
        long start = Stopwatch.GetTimestamp();
        action();
        return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
    }

    /// <summary>An event before each kernel of a call, and one after the last.</summary>
    private sealed class KernelMarks(CudaDevice device) : ICudaRunObserver, IDisposable
    {
        private readonly List<CudaEvent> _events = [];
        private readonly List<string> _kernels = [];
        private int _used;

        public int GuardBytes => 0;

        public void Clear()
        {
            _used = 0;
            _kernels.Clear();
        }

        public IReadOnlyList<(string Kernel, double Milliseconds)> Times() =>
            [.. _kernels.Select((kernel, i) => (kernel, (double)_events[i + 1].MillisecondsSince(_events[i])))];

        public void BeforeLaunch(CudaWorkspace workspace, CudaTensor<byte> memory, CudaStream stream)
        {
        }

        public void BeforeKernel(CudaKernel kernel, CudaStream stream)
        {
            _kernels.Add(kernel.Name);
            Mark(stream);
        }

        public void AfterLaunch(CudaWorkspace workspace, CudaTensor<byte> memory, CudaStream stream) => Mark(stream);

        public void Dispose()
        {
            foreach (CudaEvent mark in _events)
                mark.Dispose();
        }

        private void Mark(CudaStream stream)
        {
            if (_used == _events.Count)
                _events.Add(new CudaEvent(device));
            _events[_used++].Record(stream);
        }
    }
}
